"""Writes docs/reliability.md from the results of one run of the proof and from the records of longer runs."""

import collections
import platform
import re

import records
from conservation import POINTS
from lab import ROOT, machine

# The fault matrix, in words. The report says "not shown" where no check shows a fault.
FAULTS = {
    1: "SIGKILL at twelve points and at random", 2: "SIGTERM when idle, polling, working", 3: "second interrupt",
    4: "stopped by SIGSTOP for longer than the visibility timeout", 5: "panics",
    6: "killed by the kernel because memory ran out", 7: "a program that hangs, forks, ignores signals",
    8: "a program that fails, is killed, writes no output", 9: "too little CPU time",
    10: "scale-in: the machine ends soon", 11: "work directory full", 12: "work directory not writable",
    13: "a limit of 64 open files", 14: "files left by a dead worker", 15: "connection refused",
    16: "connection accepted, then no response", 17: "a body that arrives byte by byte",
    18: "a body that stops in the middle", 19: "connection reset in every phase", 20: "truncated bodies",
    21: "flipped bits in a download", 22: "flipped bits in an upload", 23: "network partition",
    24: "idle connections dropped silently by a router", 25: "latency", 26: "a server that reads slowly",
    27: "a response before the body is read", 28: "503 SlowDown", 29: "500, 502, 504, 429, RequestTimeout",
    30: "AccessDenied, NoSuchBucket", 31: "NoSuchKey", 32: "object replaced while it is read",
    33: "completion done but not confirmed, or confirmed but not done", 34: "abort of an upload fails",
    35: "sizes close to the part size, empty objects", 36: "ETags that are no checksums",
    37: "duplicate messages: in one response, later, after the delete", 38: "expired receipts",
    39: "deletes that fail partly or silently", 40: "OverLimit", 41: "endless empty responses", 42: "wrong MD5OfBody",
    43: "queue deleted while running", 44: "throttled queue", 45: "a lease held for twelve hours",
    46: "poison messages", 47: "dead letters can't be sent", 48: "credentials expire",
    49: "credentials rotate while IMDS is slow", 50: "clock off by an hour",
    51: "permission to delete or extend removed", 52: "one large object among many small (120 MiB here)",
    53: "an endless stream of empty jobs", 54: "smallest and largest settings",
    55: "a thousand idle clients of the metrics port", 56: "one of two workers killed again and again",
    71: "a success response without proof", 72: "a store that ignores If-Match", 73: "endless responses",
    74: "listings and counts that are cut short or empty",
    75: "a request to the status page under an unknown host name",
    76: "several records in one message, of which some fail",
}

# Faults that need a simulated clock or server are shown within one process, by tests that only `cargo test` runs.
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
        "# Reliability: what was tested, and when",
        "",
        "`tests/proof/run` writes this page; run it to get your own results. It drives the real program on a real server",
        "that speaks S3 and SQS (ministack, on the loopback), kills workers with SIGKILL at twelve points of the flow and at",
        "random, and breaks the connections between program and server. A proxy records the order of all requests and",
        "responses.",
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
        f"| messages processed (including jobs sent again to keep dying workers busy) | {sum(figures['messages'] for figures in proxied)} |",
        f"| jobs processed by `map` and SQLite | {sum(figures['jobs'] for figures in rounds.values() if 'messages' not in figures)} |",
        f"| SIGKILLs survived | {sum(kills.values()) + sum(seen['soak_kills'])} |",
        f"| outputs written more than once for a message | {sum(figures['repeated'] for figures in proxied)} |",
        f"| unfinished uploads: collected by `gc`, left over | {sum(figures['orphans'] for figures in proxied)}, 0 |",
        f"| faults injected in the rounds on SQS and S3 | {sum(sum(figures['faults'].values()) for figures in proxied)} |",
        f"| fault kinds survived | {shown} of {len(FAULTS)} |",
        f"| longest gap between two lease extensions at full CPU | {worst(seen, 'heartbeat_gap')} s, with an interval of {worst(seen, 'heartbeat_interval')} s |",
        f"| longest drain | {worst(seen, 'drain')} s |",
        f"| longest recovery after an outage | {worst(seen, 'recovery')} s |",
        f"| most receives of one message during 20 s of 503 responses | {worst(seen, 'receives')} |",
        f"| peak memory with a budget of 256 MiB | {max((figures['peak'] for figures in proxied), default=0) >> 10} MiB |",
        f"| peak memory with a budget of 64 MiB, one large object among small objects | {worst(seen, 'peak_mib')} MiB |",
        f"| memory growth during the last two thirds of {worst(seen, 'empty_jobs')} empty jobs | {worst(seen, 'empty_growth_kib')} KiB |",
        f"| jobs of two workers, of which one is killed every {every} s, in {seconds} s | {worst(seen, 'soak_jobs')}, {worst(seen, 'soak_kills')} kills |",
        f"| wrong flags and messages, each with the expected code and first line | {bad_inputs()} rows in tests/bad_inputs (run by `cargo test`) |",
        "",
        *recorded(),
        "## Kills",
        "",
        "A crash point is a place in the program where the test kills it: CP1 received, no lease yet · CP2 during a download ·",
        "CP3 downloaded · CP4 during processing · CP5 upload begun · CP6 a part sent · CP7 about to commit · CP8 commit sent, no",
        "response yet · CP9 committed · CP10 in a batch to delete · CP11 delete sent, no response yet · CP12 drain or abort begun.",
        "",
        "| point | kills |",
        "|---|---|",
        *[f"| {point} | {kills.get(point, 0)} |" for point in POINTS],
        f"| `submit`, at random | {kills.get('submit', 0)} |",
        f"| workers, at random | {kills.get('random', 0) + sum(seen['soak_kills'])} |",
        "",
        "After the kills, the test checks that",
        "- every submitted job has exactly its output, byte for byte, or its message is in the dead-letter queue with the reason;",
        "- the output prefix holds no other object;",
        "- each delete was sent after the response to the write that it depends on;",
        "- an output that was written several times always had the same bytes;",
        "- no lease was extended after its message was deleted.",
        "",
        "## Faults",
        "",
        "| fault | | shown by |",
        "|---|---|---|",
        *[f"| F{number} | {FAULTS[number]} | {words} |" for number, (_, words) in faults.items()],
        "",
        "## Checks",
        "",
        "I17 is the watchdog: a worker without progress ends by itself.",
        "",
        "| check | faults | result |",
        "|---|---|---|",
        *[f"| {plain(name)} | {' '.join(faults)} | {result(state, words)} |" for state, name, faults, _, words in lines],
        "",
    ])


def matrix(lines):
    """For each fault: whether it is survived, and which checks show this, or why no check does."""
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
    """Whether the test still exists: a test that was renamed or removed shows nothing."""
    file = ROOT / path
    return file.exists() and f"fn {test}(" in file.read_text()


def recorded():
    """The results of longer runs, which this run does not repeat."""
    known = records.read()
    if not known:
        return []
    out = ["## Recorded", "", "Results of longer runs, which this run did not repeat. Each has the commit that was tested (`tests/proof/records.json`).", "",
           "| what | figures | when | commit | command |", "|---|---|---|---|---|"]
    for name, record in sorted(known.items()):
        figures = ", ".join(f"{number} {word}" for word, number in record["figures"].items())
        out.append(f"| {name} | {figures} | {record['date']} | {record['commit']} | `{record['command']}` |")
    return [*out, ""]


def bad_inputs():
    return sum(len(re.findall(r"^\[\[", path.read_text(), re.MULTILINE)) for path in sorted((ROOT / "tests/bad_inputs").glob("*.toml")))


def ministack():
    """The version of ministack that tests/lab installs."""
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
