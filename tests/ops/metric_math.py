"""The part of CloudWatch's metric math that ops/ uses, at one point in time.

A metric that sent nothing for that minute is None, and so is anything worked out from it, but for
FILL. The syntax happens to be Python's, so Python's own parser reads it.
"""

import ast
import operator
from functools import lru_cache

_BINARY = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
_COMPARE = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt,
    ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}


class Wrong(Exception):
    """The template can't work as it is written."""


def evaluate(expression, values):
    """The expression's value, or None for no data. `values` maps metric ids to a number or None."""
    return _value(_parse(expression), values)


@lru_cache
def _parse(expression):
    return ast.parse(expression, mode="eval").body


def _value(node, values):
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        if node.id not in values:
            raise Wrong(f"no metric has the id {node.id}")
        return values[node.id]
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left, values), _value(node.right, values)
        if left is None or right is None or (isinstance(node.op, ast.Div) and right == 0):
            return None
        return _BINARY[type(node.op)](left, right)
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        left, right = _value(node.left, values), _value(node.comparators[0], values)
        if left is None or right is None:
            return None
        return int(_COMPARE[type(node.ops[0])](left, right))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        arguments = [_value(argument, values) for argument in node.args]
        if node.func.id == "FILL":
            value, instead = arguments
            return instead if value is None else value
        if node.func.id == "IF":
            condition, yes, no = arguments
            return None if condition is None else (yes if condition else no)
    raise Wrong(f"not understood: {ast.unparse(node)}")
