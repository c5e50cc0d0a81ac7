"""Runs a client to its end and says what it cost. CPU is what the kernel charged to it and to all it waited for (wait4),
memory the kernel's own peak of the program itself (VmHWM), server CPU what was charged to the server meanwhile."""

import os
import select
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from .place import ENV, KIB, MIB, say

# A run that takes longer hangs.
LONGEST = 600
# How often memory is looked at; the peak since the last look is not lost, except the very last one.
LOOK = 0.02


def measure(command, server, cwd=None, extra=None):
    """`server` is None where there is none."""
    command = [str(word) for word in command]
    trust = {"SSL_CERT_FILE": server.certificate} if server and server.certificate else {}
    served = server.cpu() if server else 0.0
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        child = subprocess.Popen(command, env={**ENV, **trust, **(extra or {})}, cwd=cwd, stdout=subprocess.DEVNULL,
                                 stderr=said, start_new_session=True)
        ended, peak = os.pidfd_open(child.pid), 0
        while not select.select([ended], [], [], LOOK)[0]:
            peak = max(peak, high_water(child.pid))
            if time.monotonic() - began > LONGEST:
                os.killpg(child.pid, signal.SIGKILL)
        wall = time.monotonic() - began
        os.close(ended)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            said.seek(0)
            raise SystemExit(f"{command} ended with {child.returncode}: {said.read()[-2000:].decode(errors='replace')}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "served": server.cpu() - served if server else 0.0,
            "rss": peak}


def high_water(pid):
    """Not ru_maxrss, which begins at what the harness had when it forked."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * KIB for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return 0


def contest(title, names, repeat, run, thrice=()):
    """`run(name)` for every contestant in turn, `repeat` times: what disturbs the machine disturbs them all. Who is in `thrice` has three
    runs a turn, A B A B A B, of which the middle one by CPU counts."""
    runs = {name: [] for name in names}
    before = os.getloadavg()[0]
    for turn in range(repeat):
        seen = {name: [] for name in names}
        for name in [*thrice, *thrice, *names]:
            last = run(name)
            seen[name].append(last)
            say(f"  {title} {turn + 1}/{repeat} {name}: {last['wall']:.2f} s, CPU {last['cpu']:.2f} s, "
                f"server {last['served']:.2f} s, {last['rss'] / MIB:.0f} MiB")
        for name in names:
            runs[name].append(sorted(seen[name], key=lambda run: run["cpu"])[len(seen[name]) // 2])
    return {"runs": runs, "load": [before, os.getloadavg()[0]]}


def median(runs, value):
    return statistics.median(value(run) for run in runs)


def cpu_per_job(run):
    return run["cpu"] / run["jobs"]


def cpu_per_gib(run):
    return run["cpu"] / (run["bytes"] / (1 << 30))


def speed(run):
    return run["bytes"] / MIB / run["wall"]


def rate(run):
    return run["jobs"] / run["wall"]
