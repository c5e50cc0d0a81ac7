#!/usr/bin/env python3
"""Boots broken copies of ops/user-data.sh: each must make the scenario of boot_checks.py fail.

Not part of the default run, for each takes a minute: tests/ops/run boot_mutants.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from checks import Skip, check, finish
from template import OPS

TEXT = (OPS / "user-data.sh").read_text()
COMPLETE = "systemctl stop batchpipe.service # returns"
BROKEN = [
    ("programs of jobs are told to end too", "KillMode=mixed", "KillMode=control-group"),
    ("metadata is asked without a token", 'curl -sf --max-time 2 -H "X-aws-ec2-metadata-token: $token" "$imds/latest/meta-data/$1"', 'curl -sf --max-time 2 "$imds/latest/meta-data/$1"'),
    ("a crash is the end", "Restart=on-failure\nRestartSec=5\n# 5:", "Restart=no\nRestartSec=5\n# 5:"),
    ("an idle machine is started again", "RestartPreventExitStatus=10\n", "Restart=always\n"),
    ("the worker is root", "User=batchpipe\nGroup=batchpipe\n", ""),
    ("the hook is completed before the drain", COMPLETE, f"aws autoscaling complete-lifecycle-action --region x --auto-scaling-group-name batchpipe-workers --lifecycle-hook-name batchpipe-drain --lifecycle-action-result CONTINUE --instance-id i-0123456789abcdef0\n{COMPLETE}"),
    ("the worker is killed without a drain", "KillSignal=SIGTERM", "KillSignal=SIGKILL"),
]


def found_out(before, after):
    assert before in TEXT, before
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "user-data.sh"
        path.write_text(TEXT.replace(before, after, 1))
        result = subprocess.run([sys.executable, Path(__file__).with_name("boot_checks.py")], capture_output=True, text=True, timeout=290,
                                env={**os.environ, "BATCHPIPE_USER_DATA": str(path)})
    lines = result.stdout.splitlines()
    if any(line.startswith("SKIP") for line in lines):
        raise Skip(next(line for line in lines if line.startswith("SKIP")))
    failed = [line for line in lines if line.startswith("FAIL")]
    assert failed, "the scenario did not notice"
    return failed[0].split(":")[1].strip()


def main():
    for name, before, after in BROKEN:
        check(f"boot: found out: {name}", found_out, before, after)
    finish()


if __name__ == "__main__":
    main()
