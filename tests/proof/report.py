"""Writes docs/reliability.md from the results of a run of the proof and from the records of longer runs."""

import collections
import platform
import re

import records
from conservation import POINTS
from lab import ROOT, machine

# The fault matrix in words. The report also lists the faults that no check covers.
FAULTS = {
    1: "SIGKILL at twelve points and at random", 2: "SIGTERM while idle, polling or working", 3: "second interrupt",
    4: "SIGSTOP longer than the visibility timeout", 5: "panics", 6: "killed by the kernel because memory ran out",
    7: "a program that hangs, forks or ignores signals", 8: "a program that fails, is killed or leaves no output",
    9: "starved of CPU", 10: "scale-in: little time left to live", 11: "work directory full", 12: "work directory can't be written",
    13: "64 open files", 14: "leftover files of a dead worker", 15: "connection refused", 16: "connection accepted, then silence", 17: "a response body that arrives very slowly",
    18: "a response body that stops", 19: "connection reset in every phase", 20: "truncated response bodies", 21: "bits flipped in a download",
    22: "bits flipped in an upload", 23: "network partition", 24: "connections that a router forgot", 25: "latency",
    26: "a server that reads slowly", 27: "a response before the request body is read", 28: "503 SlowDown", 29: "500, 502, 504, 429, RequestTimeout",
    30: "AccessDenied, NoSuchBucket", 31: "NoSuchKey", 32: "object replaced while it is read",
    33: "completion done but not reported, or reported but not done", 34: "an abort that fails", 35: "sizes around a part size, empty objects",
    36: "ETags that are not checksums", 37: "duplicates in one response, later, or after the delete", 38: "expired receipts",
    39: "deletes that fail partly or silently", 40: "OverLimit", 41: "endless empty responses", 42: "wrong MD5OfBody",
    43: "queue deleted while running", 44: "throttled queue", 45: "one lease for twelve hours", 46: "poison messages",
    47: "dead letters can't be sent", 48: "credentials expire", 49: "credentials rotate, IMDS slow", 50: "a clock that is wrong by an hour",
    51: "permission to delete or extend revoked", 52: "one large object among many small (120 MiB here)", 53: "endless empty jobs",
    54: "smallest and largest settings", 55: "a thousand idle clients of the metrics port", 56: "one of two workers killed again and again",
    71: "a success without proof", 72: "a store that ignores If-Match", 73: "endless responses",
    74: "listings and counts that are cut off or incomplete", 75: "a status page requested under a foreign host name",
    76: "a message with several records, some of which fail",
}

# Faults that need a simulated clock are tested within one process, by tests that `cargo test` runs and this program does not.
IN_PROCESS = {
    45: [("tests/library/lease.rs", "a_message_is_not_held_longer_than_the_queue_allows")],
    5: [("tests/library/pipeline/panics.rs", "a_panic_in_a_stage_is_its_jobs_failure_and_nobody_elses"),
        ("tests/library/pipeline/processors.rs", "a_panic_is_one_jobs_failure")],
    71: [("tests/library/aws_answers/proof.rs", "a_put_without_an_etag_is_done_only_if_the_object_can_be_seen"),
         ("tests/library/aws_answers/proof.rs", "a_completion_without_an_etag_is_done_only_if_the_object_can_be_seen")],
    72: [("tests/library/pipeline/bytes.rs", "a_store_that_ignores_the_version_asked_for_gives_no_mixture")],
    73: [("tests/library/aws_answers/endless.rs", "an_error_without_end_is_read_up_to_a_bound")],
    74: [("tests/library/aws_answers/listings.rs", "a_listing_that_is_cut_or_unclear_is_an_error"),
         ("tests/library/aws_answers/queues.rs", "a_queue_that_does_not_tell_its_counts_is_not_empty")],
    75: [("tests/library/listener.rs", "only_addresses_localhost_and_allowed_names_are_answered")],
}


def write(lines, about):
    rounds = {name: figures for _, name, _, figures, _ in lines if name.startswith("no job is lost") and figures}
    kills = collections.Counter()
    for figures in rounds.values():
        kills.update(figures.get("kills", {}))
    proxied = [figures for figures in rounds.values() if "messages" in figures]
    seen = collections.defaultdict(list)
    for state, _, _, figures, _ in lines:
        if state == "ok":
            for key, value in figures.items():
                if isinstance(value, (int, float)):
                    seen[key].append(value)
    safe = [state == "ok" for state, name, *_ in lines if name.startswith("no job is lost")]
    faults = matrix(lines)
    shown = sum(1 for holds, _ in faults.values() if holds)
    count = collections.Counter(state for state, *_ in lines)
    every, seconds = about["settings"]["soak"][1], about["settings"]["soak"][0]
    return "\n".join([
        "# What was tested, and when",
        "",
        "`tests/proof/run` writes this page; run it to get your own. It runs the real program against a real server for S3",
        "and SQS (ministack, on 127.0.0.1), kills workers with SIGKILL at twelve points of the flow and at random, and",
        "breaks the connections between them. A proxy records the order of all requests and responses.",
        "",
        f"- program: {about['program']}; a debug build with the feature `crash-points`",
        f"- machine: {machine()}, Linux {platform.release().split('-')[0]}, Python {platform.python_version()}, ministack {ministack()}",
        f"- form: {about['form']}; seed {about['seed']}; {about['seconds'] / 60:.1f} minutes",
        f"- checks: {count['ok']} passed, {count['FAIL']} failed, {count['SKIP']} skipped",
        "",
        "| figure | value |",
        "|---|---|",
        f"| jobs lost | **{'0' if safe and all(safe) else 'NOT PROVED'}** |",
        f"| jobs submitted (SQS and S3) | {sum(figures['jobs'] for figures in proxied)} |",
        f"| messages processed (including jobs sent again to keep workers busy until they are killed) | {sum(figures['messages'] for figures in proxied)} |",
        f"| jobs processed by `map` and SQLite | {sum(figures['jobs'] for figures in rounds.values() if 'messages' not in figures)} |",
        f"| SIGKILLs survived | {sum(kills.values()) + sum(seen['soak_kills'])} |",
        f"| outputs written more than once for a message | {sum(figures['repeated'] for figures in proxied)} |",
        f"| unfinished uploads that `gc` deleted, and left over | {sum(figures['orphans'] for figures in proxied)}, 0 |",
        f"| faults injected in those rounds | {sum(sum(figures['faults'].values()) for figures in proxied)} |",
        f"| kinds of faults survived | {shown} of {len(FAULTS)} |",
        f"| worst gap between heartbeats at full CPU | {worst(seen, 'heartbeat_gap')} s, with an interval of {worst(seen, 'heartbeat_interval')} s |",
        f"| longest drain | {worst(seen, 'drain')} s |",
        f"| longest recovery after an outage | {worst(seen, 'recovery')} s |",
        f"| most receives of a message during 20 s of 503 | {worst(seen, 'receives')} |",
        f"| peak memory with a budget of 256 MiB | {max((figures['peak'] for figures in proxied), default=0) >> 10} MiB |",
        f"| peak memory with a budget of 64 MiB, one large object among small ones | {worst(seen, 'peak_mib')} MiB |",
        f"| growth of memory in the last two thirds of {worst(seen, 'empty_jobs')} empty jobs | {worst(seen, 'empty_growth_kib')} KiB |",
        f"| jobs of two workers, one of which is killed every {every} s, for {seconds} s | {worst(seen, 'soak_jobs')}, {worst(seen, 'soak_kills')} kills |",
        f"| tested mistakes in flags and messages, each with its expected code and first line | {bad_inputs()} rows in tests/bad_inputs (run by `cargo test`) |",
        "",
        *recorded(),
        "## Kills",
        "",
        "CP1 received, no lease yet · CP2 during a download · CP3 downloaded · CP4 during processing · CP5 upload begun · CP6 a part sent ·",
        "CP7 about to commit · CP8 commit sent, no response yet · CP9 committed · CP10 in a batch to delete · CP11 delete sent, no response",
        "yet · CP12 drain or abort begun.",
        "",
        "| point | kills |",
        "|---|---|",
        *[f"| {point} | {kills.get(point, 0)} |" for point in POINTS],
        f"| `submit`, at random | {kills.get('submit', 0)} |",
        f"| workers, at random | {kills.get('random', 0) + sum(seen['soak_kills'])} |",
        "",
        "After the kills, the run checks: every submitted job has exactly its output, byte for byte, or its message is in the dead",
        "letters with the reason; nothing else is under the output prefix; each message was deleted only after the response to the",
        "write of its output; each output had the same bytes every time it was written; no lease was extended after the delete.",
        "",
        "## Faults",
        "",
        "| fault | | shown by |",
        "|---|---|---|",
        *[f"| F{number} | {FAULTS[number]} | {words} |" for number, (_, words) in faults.items()],
        "",
        "## Checks",
        "",
        "I17 is the watchdog: a worker that makes no progress ends by itself.",
        "",
        "| check | faults | result |",
        "|---|---|---|",
        *[f"| {plain(name)} | {' '.join(faults)} | {result(state, words)} |" for state, name, faults, _, words in lines],
        "",
    ])


def matrix(lines):
    """For each fault: whether it is survived, and the check that shows it, or why no check does."""
    found = {}
    for number in FAULTS:
        checks = [(state, plain(name), words) for state, name, faults, _, words in lines if f"F{number}" in faults]
        good = [name for state, name, _ in checks if state == "ok"]
        bad = [name for state, name, _ in checks if state == "FAIL"]
        tests = [f"`{test}` ({path}; within one process, run by `cargo test`)" for path, test in IN_PROCESS.get(number, []) if is_there(path, test)]
        if bad:
            found[number] = (False, "FAILED: " + "; ".join(bad))
        elif good or tests:
            found[number] = (True, "; ".join(good + tests))
        else:
            skipped = [result(state, words) for state, _, words in checks]
            found[number] = (False, "not shown" + "".join(f": {words}" for words in skipped[:1]))
    return found


def is_there(path, test):
    """Whether the test still exists under this name."""
    file = ROOT / path
    return file.exists() and f"fn {test}(" in file.read_text()


def recorded():
    """The records of runs that are too long to be part of this run."""
    known = records.read()
    if not known:
        return []
    out = ["## Recorded", "", "Results of other, longer runs, each with the commit that was tested (`tests/proof/records.json`).", "",
           "| run | figures | date | commit | command |", "|---|---|---|---|---|"]
    for name, record in sorted(known.items()):
        figures = ", ".join(f"{number} {word}" for word, number in record["figures"].items())
        out.append(f"| {name} | {figures} | {record['date']} | {record['commit']} | `{record['command']}` |")
    return [*out, ""]


def bad_inputs():
    return sum(len(re.findall(r"^\[\[", path.read_text(), re.MULTILINE)) for path in sorted((ROOT / "tests/bad_inputs").glob("*.toml")))


def ministack():
    """The version that tests/lab installs."""
    pinned = re.search(r"ministack==([0-9.]+)", (ROOT / "tests/lab/setup.sh").read_text())
    return pinned.group(1) if pinned else ""


def plain(name):
    return name.replace("_", " ")


def result(state, words):
    first = words.strip().splitlines()[0][:200].replace("|", "\\|") if words.strip() else ""
    return state if not first else f"{state}: {first}"


def worst(seen, name):
    values = seen.get(name)
    if not values:
        return "not measured"
    return f"{max(values):.1f}" if any(isinstance(value, float) for value in values) else str(max(values))
