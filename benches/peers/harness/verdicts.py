"""The targets, and whether they were met. A ratio is the median over the turns of one run each, so that a machine that slows
down slows both sides; its least and most stand behind it."""

import os
import statistics
from dataclasses import dataclass

from .measure import cpu_per_gib, cpu_per_job, median, rate, speed
from .place import MIB

SMALL, LARGE, BARE = "4 KiB copies", "Large copies", "bare SDK loop"
# codec_speed on files.
BARE_FILES = "bare codec: read, compress, write, sync, rename"


@dataclass(frozen=True)
class Verdict:
    target: str
    bound: str
    measured: str
    met: bool


def ratios(ours, theirs, value):
    return [value(a) / value(b) for a, b in zip(ours, theirs)]


def spread(numbers, unit=" ×", digits=2):
    middle = f"{statistics.median(numbers):.{digits}f}{unit}"
    return middle if len(numbers) == 1 else f"{middle} ({min(numbers):.{digits}f}–{max(numbers):.{digits}f})"


def at_most(target, numbers, bound, detail=""):
    return Verdict(target, f"≤ {bound:g} ×", spread(numbers) + detail, statistics.median(numbers) <= bound)


def at_least(target, numbers, bound, detail=""):
    return Verdict(target, f"≥ {bound:g} ×", spread(numbers) + detail, statistics.median(numbers) >= bound)


def escaped(name):
    """For a cell of a table."""
    return name.replace("|", "\\|")


def peers_of(runs):
    return {name: each for name, each in runs.items() if not name.startswith(("batchpipe", "bare"))}


def least_ahead(runs, ours, value):
    """The peer that comes closest, and the ratios to it."""
    name = max(peers_of(runs), key=lambda name: median(runs[name], value))
    return name, ratios(runs[ours], runs[name], value)


def left(codec, copies):
    """What of the codec's speed is left to it on cores where the same bytes are copied, too, at the price of the bare SDK loop and
    of the server behind it."""
    compressing = median(codec, cpu_per_gib)
    return compressing / (compressing + median(copies, cpu_per_gib) + median(copies, lambda run: cpu_per_gib({**run, "cpu": run["served"]})))


def judge(results):
    def runs(title):
        return results.get(title, {}).get("runs", {})

    verdicts = []
    if small := runs(SMALL):
        verdicts.append(at_most(f"{SMALL}: CPU per job, compared with the bare SDK loop",
                                ratios(small["batchpipe"], small[BARE], cpu_per_job), 1.25))
        if peers_of(small):
            closest, ahead = least_ahead(small, "batchpipe", lambda run: 1 / cpu_per_job(run))
            verdicts.append(at_least(f"{SMALL}: jobs per CPU-second, compared with every peer", ahead, 2, f", `{escaped(closest)}` is closest"))
    for title in (SMALL, f"{SMALL}, 20 ms away", f"{SMALL} on fauxqs"):
        if "2013 loop" in runs(title):
            verdicts.append(at_least(f"{title}: jobs/s, compared with the 2013 loop",
                                     ratios(runs(title)["batchpipe"], runs(title)["2013 loop"], rate), 10))
    if large := runs(LARGE):
        verdicts.append(at_most(f"{LARGE}: CPU per GiB, compared with the bare SDK loop",
                                ratios(large["batchpipe"], large[BARE], cpu_per_gib), 1.15))
    for title in (LARGE, f"{LARGE} on fauxqs"):
        if peers_of(runs(title)):
            closest, ahead = least_ahead(runs(title), "batchpipe", speed)
            verdicts.append(at_least(f"{title}: MiB/s, compared with every peer", ahead, 1, f", `{escaped(closest)}` is closest"))
    for level in (1, 9):
        if (packed := runs(f"1 MiB zstd:{level}")) and (alone := runs("zstd in memory")):
            cores = os.cpu_count()
            ours = packed[f"batchpipe --process zstd:{level}"]
            codec = ratios(ours, alone[f"zstd:{level}, 1 thread"], speed)
            at_once = ratios(ours, alone[f"zstd:{level}, {cores} threads"], speed)
            detail = f"; {statistics.median(at_once):.2f} × of {cores} threads in parallel"
            if copies := runs("1 MiB copies").get(BARE):
                detail += f", where copies and server leave {left(alone[f'zstd:{level}, {cores} threads'], copies):.2f} ×"
            verdicts.append(at_least(f"1 MiB zstd:{level}: MiB/s, compared with {cores} cores × zstd in memory",
                                     [each / cores for each in codec], 0.95, detail))
            if files := runs(f"1 MiB zstd:{level} on files"):
                at_once = ratios(files["batchpipe map"], alone[f"zstd:{level}, {cores} threads"], speed)
                bare = ratios(files["batchpipe map"], files.get(BARE_FILES, []), speed)
                detail = f"; {statistics.median(bare):.2f} × of a program that only reads, compresses and writes" if bare else ""
                verdicts.append(at_least(f"1 MiB zstd:{level} on files: MiB/s, compared with {cores} threads of zstd in memory", at_once, 0.95, detail))
    for title, result in results.items():
        if title.startswith("Submit") and "s5cmd cp" in result["runs"]:
            ours, theirs = result["runs"]["batchpipe submit"], result["runs"]["s5cmd cp"]
            verdicts.append(at_most(f"{title}: time, compared with s5cmd", ratios(ours, theirs, lambda run: run["wall"]), 1))
            verdicts.append(at_most(f"{title}: CPU, compared with s5cmd", ratios(ours, theirs, lambda run: run["cpu"]), 1))
    verdicts += linear(results)
    if rows := results.get("Memory", {}).get("rows"):
        worst = max(rows, key=lambda row: row["rss"] - row["promise"])
        kept = sum(row["rss"] <= row["promise"] for row in rows)
        verdicts.append(Verdict("Peak memory", "≤ --memory + 64 MiB", f"{kept} of {len(rows)} settings; the closest had "
                                f"{(worst['promise'] - worst['rss']) / MIB:.0f} MiB to spare", kept == len(rows)))
    return verdicts


def linear(results):
    """Queues of growing length: in one turn, the rates must not differ by more than a tenth, between first receive and last delete."""
    depths = {title: result["runs"]["batchpipe"] for title, result in results.items() if title.endswith("queued jobs")}
    if len(depths) < 2:
        return []
    turns = [[run["jobs"] / run["working"] for run in turn] for turn in zip(*depths.values())]
    apart = [max(rates) / min(rates) - 1 for rates in turns]
    rates = [median(each, lambda run: run["jobs"] / run["working"]) for each in depths.values()]
    costs = [1e6 * median(each, cpu_per_job) for each in depths.values()]
    names = ", ".join(title.split()[0] for title in depths)
    return [Verdict(f"Jobs/s with {names} jobs queued", "within 10 %",
                    f"{spread([100 * each for each in apart], ' %', 0)} apart in one turn ("
                    + ", ".join(f"{each:,.0f}" for each in rates) + " jobs/s; " + ", ".join(f"{each:.0f}" for each in costs)
                    + " µs of CPU per job)", statistics.median(apart) <= 0.10)]
