#!/usr/bin/env python3
"""Figures of runs that take too long to be made again with every report: fuzzing, long simulations, model checks.

    tests/proof/records.py NAME COMMAND FIGURE=NUMBER...

writes one down in records.json, with the date and the commit. The report says of each when and from what it was made; a run
of the proof makes none of them.
"""

import datetime
import json
import subprocess
import sys
from pathlib import Path

FILE = Path(__file__).resolve().parent / "records.json"


def read():
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def commit():
    """The checkout's commit, and whether its sources differ from it."""
    where = FILE.parent
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=where, capture_output=True, text=True, check=False)
    if head.returncode:
        return "no revision"
    sources = [":/src", ":/tests", ":/fuzz/targets", ":!/tests/proof/records.json"]
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", *sources], cwd=where, check=False)
    return head.stdout.strip() + (" and changes" if changed.returncode else "")


def note(name, command, figures):
    """Takes the place of the record of the same name; others stay."""
    records = read()
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    records[name] = {"date": today, "commit": commit(), "command": command, "figures": figures}
    FILE.write_text(json.dumps(records, indent=2, sort_keys=True) + "\n")


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    name, command, *pairs = sys.argv[1:]
    figures = {}
    for pair in pairs:
        key, _, number = pair.partition("=")
        figures[key] = float(number) if "." in number else int(number)
    note(name, command, figures)


if __name__ == "__main__":
    main()
