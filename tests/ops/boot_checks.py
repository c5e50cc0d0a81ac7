#!/usr/bin/env python3
"""Boots ops/user-data.sh under a real systemd, with the real program on the embedded backend.

What no stand-in shows: that the units start, confine and restart; that a Spot notice in the middle of a
job drains, gives back and only then completes the hook; that an idle machine leaves. boot/enter.sh makes
the container, boot/scenario.sh is what happens in it. Needs root and the right to mount; where those are
missing everything here is one loud SKIP.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from checks import Skip, check, finish
from template import OPS

BOOT = Path(__file__).with_name("boot")
BINARY = Path(os.environ.get("BATCHPIPE_BIN") or "/nowhere")
USER_DATA = Path(os.environ.get("BATCHPIPE_USER_DATA", OPS / "user-data.sh"))  # for trying broken ones


def boot(folder):
    if not BINARY.is_file():
        raise Skip(f"there is no batchpipe at {BINARY}")
    if os.geteuid() != 0:
        raise Skip("not root")
    if not shutil.which("systemd-nspawn"):
        raise Skip("systemd-nspawn is not installed")
    for source in BOOT.iterdir():
        shutil.copy2(source, folder)
    shutil.copy2(USER_DATA, folder / "user-data.sh")
    shutil.copy2(BINARY, folder / "batchpipe")
    if shutil.which("strip"):  # a debug build is large, and it is copied once more in memory
        subprocess.run(["strip", "--strip-debug", folder / "batchpipe"], check=False, stderr=subprocess.DEVNULL)
    done = subprocess.run(["bash", folder / "enter.sh", folder], capture_output=True, text=True, timeout=280)
    if not (folder / "result").exists():
        log = folder / "nspawn.log"
        said = (log.read_text(errors="replace") if log.exists() else done.stderr).strip().splitlines()
        raise Skip(f"this machine cannot boot a container: {' / '.join(said[-3:])}")
    lines = (folder / "result").read_text().splitlines()
    assert lines and lines[-1] == "end of the scenario", f"the scenario broke off after {len(lines)} lines"


def main():
    with tempfile.TemporaryDirectory(prefix="batchpipe-boot-") as name:
        folder = Path(name)
        whole = check("boot: a machine boots and lives through its scenario", boot, folder)
        result = folder / "result"
        lines = result.read_text().splitlines() if result.exists() else []
        for line in lines:
            if line.startswith(("ok  ", "FAIL")):
                print(line, flush=True)
        failed = not whole and lines or any(line.startswith("FAIL") for line in lines)
        keep = os.environ.get("BATCHPIPE_BOOT_LOGS")
        if keep:
            shutil.copytree(folder, keep, dirs_exist_ok=True)
        if failed:
            for log in ("scenario.log", "nspawn.log"):
                if (folder / log).exists():
                    print(f"--- {log}\n" + "\n".join((folder / log).read_text(errors="replace").splitlines()[-40:]), file=sys.stderr)
            sys.exit(1)
    finish()


if __name__ == "__main__":
    main()
