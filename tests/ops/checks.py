"""The smallest harness: a check is a sentence and a function that raises if it is not true.

Each prints one line. tests/ops/run counts the lines over all scripts. A check that can't run here is
a SKIP with its reason, never an ok.
"""

import sys
import traceback

_failed = 0


class Skip(Exception):
    """This machine can't answer the question."""


def check(sentence, function, *arguments):
    """Runs one check, prints its line and returns whether it held."""
    global _failed
    try:
        note = function(*arguments)
    except Skip as reason:
        print(f"SKIP   {sentence}: {reason}", flush=True)
        return False
    except Exception as error:  # noqa: BLE001 - a check must not end the others
        _failed += 1
        where = traceback.extract_tb(error.__traceback__)[-1]
        told = str(error).strip() or (where.line or "")
        if not isinstance(error, AssertionError):
            told = f"{type(error).__name__}: {told} ({where.filename.rsplit('/', 1)[-1]}:{where.lineno})"
        print(f"FAIL   {sentence}: {' / '.join(told.splitlines())}", flush=True)
        return False
    print(f"ok     {sentence}{f' ({note})' if isinstance(note, str) else ''}", flush=True)
    return True


def finish():
    """Ends the script; 1 if a check failed."""
    sys.exit(1 if _failed else 0)
