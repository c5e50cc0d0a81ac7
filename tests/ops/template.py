"""Reads CloudFormation templates and works out their intrinsic functions, as far as ops/ uses them.

One loader for all checks, so that none of them looks at YAML text. What a function would only know
in a real account (an ARN, an image) becomes a stable, readable stand-in.
"""

import copy
import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
OPS = ROOT / "ops"

PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": "eu-west-1",
    "AWS::AccountId": "123456789012",
    "AWS::URLSuffix": "amazonaws.com",
}
NOTHING = object()


class _Loader(yaml.SafeLoader):
    pass


def _tag(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _tag)


def load(path=OPS / "stack.yaml"):
    """The template as plain data, short forms (!Ref) written out."""
    return yaml.load(Path(path).read_text(), _Loader)


class Template:
    """A template with its parameters filled in."""

    def __init__(self, document, **parameters):
        self.document = document
        self.parameters = {
            name: parameters.get(name, declared.get("Default", f"({name})"))
            for name, declared in document.get("Parameters", {}).items()
        }
        unknown = set(parameters) - set(self.parameters)
        assert not unknown, f"no such parameter: {unknown}"

    def resources(self):
        """Name -> resource with every function worked out, those whose condition is false left out."""
        found = {}
        for name, resource in self.document["Resources"].items():
            if self.condition(resource.get("Condition")):
                found[name] = self.value(resource)
        return found

    def properties(self, name):
        return self.resources()[name]["Properties"]

    def condition(self, name):
        return name is None or self.value(self.document["Conditions"][name])

    def value(self, node):
        if isinstance(node, dict):
            if len(node) == 1:
                (key, argument), = node.items()
                if key == "Ref":
                    return self.reference(argument)
                if key.startswith("Fn::"):
                    return self.function(key[4:], argument)
            worked = {key: self.value(child) for key, child in node.items()}
            return {key: child for key, child in worked.items() if child is not NOTHING}
        if isinstance(node, list):
            return [child for child in map(self.value, node) if child is not NOTHING]
        return node

    def reference(self, name):
        if name == "AWS::NoValue":
            return NOTHING
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self.parameters:
            return self.parameters[name]
        assert name in self.document["Resources"], f"Ref to {name}, which is not there"
        named = self.document["Resources"][name].get("Properties", {})
        for key in ("AutoScalingGroupName", "QueueName", "BucketName"):
            if key in named and self.document["Resources"][name]["Type"] != "AWS::AutoScaling::ScalingPolicy":
                return self.value(named[key])
        return f"<{name}>"

    def function(self, name, argument):
        if name == "Sub":
            text, extra = argument if isinstance(argument, list) else (argument, {})
            extra = {key: self.value(child) for key, child in extra.items()}

            def replace(match):
                inner = match.group(1)
                if inner in extra:
                    return str(extra[inner])
                if "." in inner:
                    return self.function("GetAtt", inner.split(".", 1))
                return str(self.reference(inner))

            return re.sub(r"\$\{([^!}]+)\}", replace, text)
        if name == "GetAtt":
            return f"<{argument[0]}.{argument[1]}>"
        if name == "Join":
            glue, parts = argument
            return glue.join(str(part) for part in self.value(parts))
        if name == "If":
            condition, yes, no = argument
            return self.value(yes if self.condition(condition) else no)
        if name == "Equals":
            return self.value(argument[0]) == self.value(argument[1])
        if name == "Not":
            return not self.value(argument[0])
        if name == "FindInMap":
            where, first, second = (self.value(part) for part in argument)
            return self.document["Mappings"][where][first][second]
        if name == "Base64":
            return self.value(argument)
        raise AssertionError(f"Fn::{name} is not used in ops/")


def policy(name):
    """A policy file of ops/ as data."""
    return json.loads((OPS / name).read_text())


def variant(document, change):
    """A changed copy of a template, for checks that must fail."""
    changed = copy.deepcopy(document)
    change(changed)
    return changed
