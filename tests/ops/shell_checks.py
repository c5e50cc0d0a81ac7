#!/usr/bin/env python3
"""The scripts of ops/: read by bash and shellcheck, those inside here-documents too, and run for real
as far as a machine without systemd lets them (tests/ops/boot does the rest).

shellcheck cannot see into a here-document, and the two scripts that drain a worker live in one.
"""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from checks import Skip, check, finish
from template import OPS, ROOT

USER_DATA = OPS / "user-data.sh"


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **more)


def scripts():
    """Every shell script of ops/ and tests/ops/, and each that user-data.sh writes."""
    found = {path.name: path.read_text() for path in (USER_DATA, *sorted((ROOT / "tests" / "ops").rglob("*.sh")), ROOT / "tests" / "ops" / "run")}
    for inner in re.finditer(r"cat >(\S+) <<'(\w+)'\n(#!/bin/bash\n.*?)\n\2\n", USER_DATA.read_text(), re.S):
        found[Path(inner[1]).name] = inner[3] + "\n"
    assert {"batchpipe-leave", "batchpipe-watch"} <= set(found), list(found)
    return found


def bash_reads_it(text):
    result = run("bash", "-n", input=text)
    assert result.returncode == 0, result.stderr


def shellcheck_finds_nothing(text):
    if not shutil.which("shellcheck"):
        raise Skip("shellcheck is not installed")
    result = run("shellcheck", "--shell=bash", "--severity=info", "-", input=text)
    assert result.returncode == 0, result.stdout


def units():
    """The units as user-data.sh writes them, with what the shell fills in."""
    found = {}
    for unit in re.finditer(r"cat >/etc/systemd/system/(\S+) <<'?UNIT'?\n(.*?)\nUNIT\n", USER_DATA.read_text(), re.S):
        found[unit[1]] = unit[2].replace("$((BATCHPIPE_DRAIN_SECONDS + 10))", "110").replace("$program", " -- $WORKER_PROGRAM")
    assert set(found) == {"batchpipe.service", "batchpipe-watch.service"}, list(found)
    return found


def write_units(folder, texts):
    for name, text in texts.items():
        # What they start is not on this machine.
        (folder / name).write_text(re.sub(r"/usr/local/bin/batchpipe[-a-z]*", "/bin/true", text).replace("User=batchpipe", "User=daemon").replace("Group=batchpipe\n", "") + "\n")
    return [str(folder / name) for name in texts]


def systemd_knows_every_line(texts=None):
    if not shutil.which("systemd-analyze"):
        raise Skip("systemd-analyze is not installed")
    with tempfile.TemporaryDirectory() as folder:
        files = write_units(Path(folder), texts or units())
        # It exits 0 on unknown keys too: only an empty output will do.
        result = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *files)
        said = [line for line in (result.stdout + result.stderr).splitlines() if folder in line or "batchpipe" in line]
        assert not said, "\n".join(said)


def systemd_would_notice_a_misspelt_key():
    texts = units()
    texts["batchpipe.service"] = texts["batchpipe.service"].replace("KillMode=", "KilMode=")
    try:
        systemd_knows_every_line(texts)
    except AssertionError as noticed:
        assert "KilMode" in str(noticed), noticed
        return
    raise AssertionError("a misspelt key was not noticed")


def the_worker_is_confined():
    if not shutil.which("systemd-analyze"):
        raise Skip("systemd-analyze is not installed")
    with tempfile.TemporaryDirectory() as folder:
        files = write_units(Path(folder), {"batchpipe.service": units()["batchpipe.service"]})
        result = run("systemd-analyze", "security", "--offline=yes", "--threshold=35", "--no-pager", *files)
        level = re.search(r"Overall exposure level for \S+: ([\d.]+)", result.stdout)
        assert level, result.stdout[-500:] + result.stderr
        assert result.returncode == 0, f"exposure {level[1]}"
        return f"exposure {level[1]} of 10, 3.5 allowed"


def a_wrong_checksum_stops_the_bootstrap():
    """With stand-ins for what would change this machine; nothing may be installed or started."""
    with tempfile.TemporaryDirectory() as folder:
        bin_ = Path(folder)
        log = bin_ / "log"
        for name in ("aws", "dnf", "useradd", "install", "systemctl", "sysctl", "mount", "id", "chown", "chmod"):
            body = 'echo evil >"${@: -1}"\n' if name == "aws" else ""
            (bin_ / name).write_text(f'#!/bin/bash\necho "{name} $*" >>"{log}"\n{body}')
            (bin_ / name).chmod(0o755)
        settings = {
            "REGION": "r", "GROUP": "g", "QUEUE": "q", "OUTPUT": "s3://b/o/",
            "BINARY": "s3://b/release/batchpipe", "BINARY_SHA256": "0" * 64, "PROCESS": "zstd",
        }
        environment = {"PATH": f"{bin_}:/usr/bin:/bin", **{f"BATCHPIPE_{key}": value for key, value in settings.items()}}
        result = run("bash", str(USER_DATA), env=environment)
        calls = log.read_text()
        assert result.returncode == 1, f"exit {result.returncode}"
        assert "bootstrap failed at line" in result.stderr
        assert "aws s3 cp" in calls and "/usr/local/bin/batchpipe" not in calls and "systemctl" not in calls, calls


def the_instance_store_becomes_the_work_directory(present):
    """The block of the script that does it, with stand-ins for the commands that need such a disk."""
    block = re.search(r"^disk=.*?^fi$", USER_DATA.read_text(), re.M | re.S)[0]
    with tempfile.TemporaryDirectory() as folder:
        log, table = Path(folder) / "log", Path(folder) / "fstab"
        disk = "/dev/disk/by-id/nvme-Amazon_EC2_NVMe_Instance_Storage_AWS1"
        stand_ins = "".join(f'{name}() {{ echo "{name} $*" >>"{log}"; }}\n' for name in ("mkfs.xfs", "mount", "chown", "chmod"))
        found = f'find() {{ printf "%s\\n" "{disk}-ns-1" "{disk}"; }}\n' if present else "find() { return 1; }\n"
        text = "set -Eeuo pipefail\nblkid() { return 2; }\n" + stand_ins + found + block.replace("/etc/fstab", str(table))
        result = run("bash", input=text)
        assert result.returncode == 0, result.stderr
        if not present:
            assert not log.exists() and not table.exists()
            return
        assert log.read_text().startswith(f"mkfs.xfs -q {disk}\nmount /var/lib/batchpipe/work\n"), log.read_text()
        assert table.read_text() == f"{disk} /var/lib/batchpipe/work xfs noatime,nofail 0 2\n", table.read_text()


def a_missing_setting_stops_the_bootstrap():
    result = run("bash", str(USER_DATA), env={"PATH": "/nowhere"}, executable="/bin/bash")
    assert result.returncode != 0 and "BATCHPIPE_REGION" in result.stderr, result.stderr


def a_machine_without_process_or_program_stops_the_bootstrap():
    """Before anything is fetched: the worker would refuse to start, again and again."""
    required = {"REGION": "r", "GROUP": "g", "QUEUE": "q", "OUTPUT": "s3://b/o/", "BINARY": "s3://b/release/batchpipe", "BINARY_SHA256": "0" * 64}
    for more, refused in (({}, True), ({"PROCESS": "", "PROGRAM": ""}, True), ({"SETTINGS": "BATCHPIPE_CONCURRENCY=4"}, True),
                          ({"PROCESS": "copy"}, False), ({"PROGRAM": "gzip -9"}, False), ({"SETTINGS": "BATCHPIPE_X=1 BATCHPIPE_PROCESS=copy"}, False)):
        environment = {f"BATCHPIPE_{key}": value for key, value in {**required, **more}.items()}
        # There is no command in this PATH, so what is not refused fails at the first one.
        result = run("/bin/bash", str(USER_DATA), env={"PATH": "/nowhere", **environment})
        assert result.returncode != 0
        assert ("set BATCHPIPE_PROCESS or BATCHPIPE_PROGRAM" in result.stderr) == refused, (more, result.stderr)


def main():
    for name, text in scripts().items():
        check(f"shell: bash can read {name}", bash_reads_it, text)
        check(f"shell: shellcheck finds nothing in {name}", shellcheck_finds_nothing, text)
    check("shell: systemd knows every line of the units", systemd_knows_every_line)
    check("shell: systemd would notice a misspelt key", systemd_would_notice_a_misspelt_key)
    check("shell: the worker's unit is confined", the_worker_is_confined)
    check("shell: a wrong checksum stops the bootstrap before anything is installed", a_wrong_checksum_stops_the_bootstrap)
    check("shell: an instance-store disk becomes the work directory", the_instance_store_becomes_the_work_directory, True)
    check("shell: where there is none, the root disk is", the_instance_store_becomes_the_work_directory, False)
    check("shell: a missing setting stops the bootstrap", a_missing_setting_stops_the_bootstrap)
    check("shell: a machine without process or program stops the bootstrap", a_machine_without_process_or_program_stops_the_bootstrap)
    finish()


if __name__ == "__main__":
    main()
