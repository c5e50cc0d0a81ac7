#!/usr/bin/env python3
"""Copies ops/*.json policies and ops/user-data.sh into the places of ops/stack.yaml marked `# copy: FILE`.

CloudFormation has no include without a service of its own, and people must be able to deploy one
file. With --check it changes nothing and says whether a copy is out of date.
"""

import json
import re
import sys
from pathlib import Path

OPS = Path(__file__).resolve().parents[2] / "ops"


def statement(node, indent, first):
    """YAML lines of a policy value; a text with ${} becomes a !Sub."""
    pad = " " * indent
    lines = []
    for key, value in node.items():
        quoted = f'"{key}"' if ":" in key else key
        head = f"{first}{quoted}:"
        first = pad
        if isinstance(value, str):
            lines.append(f"{head} {text(value)}")
        elif isinstance(value, list):
            lines.append(head)
            lines += [f"{pad}  - {text(item)}" for item in value]
        else:
            lines.append(head)
            lines += statement(value, indent + 2, pad + "  ")
    return lines


def text(value):
    return ("!Sub " if "${" in value else "") + json.dumps(value)


def copy(name, indent, left_out):
    source = (OPS / name).read_text()
    pad = " " * indent
    if name == "user-data.sh":
        return [f"{pad}- |"] + [f"{pad}  {line}" if line else "" for line in source.splitlines()]
    document = json.loads(source)
    if name == "kms.json":
        lines = [f"{pad}- !If", f"{pad}  - HasKey"]
        lines += statement(document, indent + 4, f"{pad}  - ")
        return lines + [f"{pad}  - !Ref AWS::NoValue"]
    lines = []
    for one in document["Statement"]:
        if one["Sid"] in left_out:
            continue
        lines += statement(one, indent + 2, f"{pad}- ")
    return lines


def embed(template):
    out, skipping = [], False
    for line in template.splitlines():
        mark = re.fullmatch(r"( *)# copy: (\S+)(?: without (.*))?", line)
        if mark:
            out += [line, *copy(mark[2], len(mark[1]), (mark[3] or "").split())]
            skipping = True
        elif line.strip() == "# end of copy":
            out.append(line)
            skipping = False
        elif not skipping:
            out.append(line)
    return "\n".join(out) + "\n"


def main():
    stale = 0
    for path in (OPS / "stack.yaml", OPS / "ecs" / "service.yaml"):
        before = path.read_text()
        after = embed(before)
        if after != before:
            stale = 1
            print(f"{path.name}: copies out of date")
            if "--check" not in sys.argv:
                path.write_text(after)
    return stale if "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
