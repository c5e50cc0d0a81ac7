#!/usr/bin/env python3
"""cfn-lint over the templates, and that it notices what it is there for."""

import os
import subprocess
import tempfile
from pathlib import Path

from checks import check, finish
from template import OPS

LINT = Path(os.environ["BATCHPIPE_LAB"]) / "venv" / "bin" / "cfn-lint"


def lint(*paths):
    result = subprocess.run([LINT, "-r", "eu-west-1", "us-east-1", "-t", *paths], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout


def notices(before, after):
    text = (OPS / "stack.yaml").read_text()
    assert before in text, before
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stack.yaml"
        path.write_text(text.replace(before, after, 1))
        try:
            lint(path)
        except AssertionError as said:
            return str(said).splitlines()[0][:100]
    raise AssertionError("cfn-lint did not notice")


def main():
    check("lint: cfn-lint finds nothing in stack.yaml", lint, OPS / "stack.yaml")
    check("lint: cfn-lint finds nothing in ecs/service.yaml", lint, OPS / "ecs" / "service.yaml")
    check("lint: an unknown property is noticed", notices, "MessageRetentionPeriod:", "MessageRetention:")
    check("lint: a reference to nothing is noticed", notices, "!Ref Group\n", "!Ref Fleet\n")
    check("lint: an unknown action is noticed", notices, '"sqs:DeleteMessage"', '"sqs:DeleteMessageBatch"')
    finish()


if __name__ == "__main__":
    main()
