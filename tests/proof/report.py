"""Writes docs/reliability.md from what a run of the proof has seen."""

import collections
import platform
import subprocess

from conservation import POINTS
from lab import machine

# The fault matrix, in words. What is not tried here is said to be so.
FAULTS = {
    1: "SIGKILL at twelve points and at random", 2: "SIGTERM when idle, polling, working", 3: "second interrupt",
    4: "SIGSTOP longer than the visibility timeout", 5: "panics", 6: "killed by the kernel for want of memory",
    7: "a program that hangs, forks, ignores signals", 8: "a program that fails, is killed, leaves nothing",
    9: "starved of CPU", 10: "scale-in: little time to live", 11: "work directory full", 12: "work directory can't be written",
    13: "64 open files", 14: "files of a dead worker", 15: "connection refused", 16: "accepted, then silence", 17: "a body that drips",
    18: "a body that stops", 19: "reset in every phase", 20: "truncated bodies", 21: "bits flipped in a download",
    22: "bits flipped in an upload", 23: "partition", 24: "connections forgotten on the way", 25: "latency",
    26: "a server that reads slowly", 27: "an answer before the body is read", 28: "503 SlowDown", 29: "500, 502, 504, 429, RequestTimeout",
    30: "AccessDenied, NoSuchBucket", 31: "NoSuchKey", 32: "object replaced while it is read",
    33: "completion done but not told, told but not done", 34: "abort fails", 35: "sizes around a part, empty objects",
    36: "ETags that are no checksums", 37: "duplicates in one answer, later, after the delete", 38: "expired receipts",
    39: "deletes that fail in part or silently", 40: "OverLimit", 41: "empty answers without end", 42: "wrong MD5OfBody",
    43: "queue deleted while running", 44: "throttled queue", 45: "twelve hours of one lease", 46: "poison messages",
    47: "dead letters can't be sent", 48: "credentials expire", 49: "credentials rotate, IMDS slow", 50: "clock an hour wrong",
    51: "right to delete or extend taken away", 52: "one large object among many small (120 MiB here)", 53: "a million empty jobs",
    54: "smallest and largest settings", 55: "a thousand idle clients of the metrics", 56: "a worker killed every 20 s for an hour",
}


def write(lines, seed, version, form, seconds):
    rounds = {name: figures for state, name, _, figures, _ in lines if name.startswith("no job is lost") and figures}
    kills = collections.Counter()
    for figures in rounds.values():
        kills.update(figures.get("kills", {}))
    proxied = [figures for figures in rounds.values() if "messages" in figures]
    tried, failed = set(), set()
    for state, _, faults, _, _ in lines:
        numbers = {int(fault[1:]) for fault in faults if fault.startswith("F")}
        tried |= numbers if state == "ok" else set()
        failed |= numbers if state == "FAIL" else set()
    survived = tried - failed
    other = sorted(set(FAULTS) - survived)
    seen = {}
    for state, name, _, figures, _ in lines:
        if state == "ok":
            for key, value in figures.items():
                if isinstance(value, (int, float)):
                    seen.setdefault(key, []).append(value)
    lost = "0" if proxied and all(state == "ok" for state, name, *_ in lines if name.startswith("no job is lost")) else "NOT PROVED"
    out = [
        "# What was proved, and when",
        "",
        "Written by `tests/proof/run`; run it to get your own. It drives the real program on a real server that speaks S3",
        "and SQS (ministack, on the loopback), kills workers with SIGKILL at twelve points of the flow and at random, and",
        "breaks the connections between. A proxy keeps the order of all requests and answers.",
        "",
        f"- program: {version or 'batchpipe'} ({revision()}), a debug build with the feature `crash-points`",
        f"- machine: {machine()}, Linux {platform.release().split('-')[0]}, Python {platform.python_version()}, ministack 1.5.33",
        f"- form: {form}, seed {seed}, {seconds / 60:.1f} minutes",
        f"- checks: {sum(1 for line in lines if line[0] == 'ok')} passed, {sum(1 for line in lines if line[0] == 'FAIL')} failed, "
        f"{sum(1 for line in lines if line[0] == 'SKIP')} skipped",
        "",
        "| figure | value |",
        "|---|---|",
        f"| jobs lost | **{lost}** |",
        f"| jobs submitted (SQS and S3) | {sum(figures['jobs'] for figures in proxied)} |",
        f"| messages through (jobs sent again to keep dying workers busy included) | {sum(figures['messages'] for figures in proxied)} |",
        f"| jobs through `map` and SQLite | {sum(figures['jobs'] for figures in rounds.values() if 'messages' not in figures)} |",
        f"| SIGKILLs survived | {sum(kills.values())} |",
        f"| outputs written more than once for a message | {sum(figures['repeated'] for figures in proxied)} |",
        f"| unfinished uploads that `gc` collected, and left | {sum(figures['orphans'] for figures in proxied)}, 0 |",
        f"| faults injected in those rounds | {sum(sum(figures['faults'].values()) for figures in proxied)} |",
        f"| fault kinds survived | {len(survived)} of {len(FAULTS)} |",
        f"| worst gap between heartbeats at full CPU | {worst(seen, 'heartbeat_gap')} s of an interval of {worst(seen, 'heartbeat_interval')} s |",
        f"| longest drain | {worst(seen, 'drain')} s |",
        f"| longest recovery after an outage | {worst(seen, 'recovery')} s |",
        f"| most receives of a message in 20 s of 503 | {worst(seen, 'receives')} |",
        f"| peak memory with a budget of 256 MiB | {max((figures['peak'] for figures in proxied), default=0) >> 10} MiB |",
        f"| peak memory with a budget of 64 MiB, one large object among small ones | {worst(seen, 'peak_mib')} MiB |",
        "",
        "## Kills",
        "",
        "CP1 received, no lease yet · CP2 in a download · CP3 downloaded · CP4 in the processing · CP5 upload begun · CP6 a part sent ·",
        "CP7 about to commit · CP8 commit sent, no answer yet · CP9 committed · CP10 in a batch to delete · CP11 delete sent, no answer",
        "yet · CP12 drain or abort begun.",
        "",
        "| point | kills |",
        "|---|---|",
        *[f"| {point} | {kills.get(point, 0)} |" for point in POINTS],
        f"| `submit`, at random | {kills.get('submit', 0)} |",
        f"| workers, at random | {kills.get('random', 0)} |",
        "",
        "What is checked after them: every submitted job has exactly its output, byte for byte, or its message is in the dead",
        "letters with the reason; nothing else lies under the output prefix; each delete came after the answer to the write it",
        "stands on; each output was written with the same bytes whenever it was written; no lease was extended after its delete.",
        "",
        "## Checks",
        "",
        "| check | faults | result |",
        "|---|---|---|",
        *[f"| {name.replace('_', ' ')} | {' '.join(faults)} | {result(state, words)} |" for state, name, faults, _, words in lines],
        "",
        "## Faults not shown to be survived here",
        "",
        *[f"- F{number}: {FAULTS[number]}" + (" (a check failed)" if number in failed else "") for number in other],
        "",
        "Some of these are tested inside one process (`tests/pipeline.rs`, `tests/faults.rs`); here they count as not tried.",
        "",
    ]
    return "\n".join(out)


def result(state, words):
    first = words.strip().splitlines()[0][:200].replace("|", "\\|") if words.strip() else ""
    return state if not first else f"{state}: {first}"


def worst(seen, name):
    values = seen.get(name)
    if not values:
        return "not measured"
    return f"{max(values):.1f}" if any(isinstance(value, float) for value in values) else str(max(values))


def revision():
    said = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return said.stdout.strip() or "no revision"
