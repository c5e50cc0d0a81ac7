"""docs/benchmarks.md and docs/scaling.md: what people wrote stays, the blocks between marks are written anew from
docs/benchmarks.json."""

import json
import os
import subprocess
import time
from pathlib import Path

from . import picture, scaling
from .measure import cpu_per_gib, cpu_per_job, median, rate, speed
from .place import MIB, ROOT, show
from .verdicts import escaped, judge

REPORT = ROOT / "docs/benchmarks.md"
SCALING = ROOT / "docs/scaling.md"
FIGURES = ROOT / "docs/benchmarks.json"
PICTURE = ROOT / "docs/benchmarks.svg"


def load():
    return json.loads(FIGURES.read_text()) if FIGURES.exists() else {}


def keep(results, scale):
    """Puts new results among the old ones, each with when, where and from what it was measured."""
    about = {"date": time.strftime("%Y-%m-%d"), "commit": commit(), "machine": machine(), "scale": scale}
    figures = load()
    for title, result in results.items():
        figures.pop(title, None)
        figures[title] = {**about, **result}
    FIGURES.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")


def commit():
    """What was measured; documents may have been written meanwhile, the program not."""
    def git(*words):
        return subprocess.run(["git", *words], capture_output=True, text=True, cwd=ROOT).stdout.strip()

    changed = git("status", "--porcelain", "--", "src", "benches", "Cargo.toml", "Cargo.lock")
    return git("rev-parse", "--short", "HEAD") + (" with changes" if changed else "")


def machine():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")
    return f"{os.cpu_count()} × {name}"


def write():
    figures = load()
    fill(REPORT, {"verdicts": verdict_table(figures), "tables": tables(figures)})
    if scaling.needed(figures):
        fill(SCALING, scaling.tables(figures))
    PICTURE.write_text(picture.draw(figures))


def fill(document, blocks):
    text = document.read_text()
    for name, block in blocks.items():
        begin, end = f"<!-- {name}: written by benches/peers/run -->", f"<!-- end of {name} -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}\n\n{block}\n{end}{rest.split(end)[1]}"
    document.write_text(text)


def verdict_table(figures):
    lines = ["| target | bound | measured | |", "|---|---|---|---|"]
    lines += [f"| {v.target} | {v.bound} | {v.measured} | {'met' if v.met else '**missed**'} |" for v in judge(figures)]
    return "\n".join(lines) + "\n"


def cell(runs, value, digits):
    numbers = sorted(value(run) for run in runs)
    middle = f"{median(runs, value):,.{digits}f}"
    return middle if len(runs) == 1 else f"{middle} ({numbers[0]:,.{digits}f}–{numbers[-1]:,.{digits}f})"


def tables(figures):
    return "\n".join(grid(result) if "rows" in result else table(title, result) for title, result in figures.items())


def about(result):
    load = f"load average {result['load'][0]:.1f} before and {result['load'][1]:.1f} after, " if "load" in result else ""
    scale = "" if result["scale"] == 1 else f", scale {result['scale']:g}"
    return f"{load}{result['date']}, commit {result['commit']}, {result['machine']}{scale}."


def table(title, result):
    runs, size = result["runs"], result["size"]
    turns = max(len(each) for each in runs.values())
    lines = [f"### {title}", "", f"{show(size)} per job. Server: {result['server']}. {turns} turns, {about(result)}", "",
             "| | jobs | jobs/s | MiB/s | CPU-s per 1,000 jobs | CPU-s per GiB | server's CPU-s per 1,000 jobs | peak RSS, MiB |",
             "|---|--:|--:|--:|--:|--:|--:|--:|"]
    for name, each in runs.items():
        jobs = each[0]["jobs"]
        served, peak = median(each, lambda run: 1000 * run["served"] / run["jobs"]), max(run["rss"] for run in each)
        lines.append("| " + " | ".join([
            escaped(name), f"{jobs:,}", cell(each, rate, 0 if jobs > 100 else 2), cell(each, speed, 1 if size < MIB else 0),
            cell(each, lambda run: 1000 * cpu_per_job(run), 3 if size < MIB else 1), cell(each, cpu_per_gib, 0 if size < MIB else 2),
            f"{served:,.3g}" if served else "–", f"{peak / MIB:,.0f}" if peak else "–"]) + " |")
    return "\n".join(lines) + "\n"


def grid(result):
    """Peak memory: budgets and concurrency down, sizes across."""
    rows = result["rows"]
    lines = ["### Memory", "", f"Peak resident memory of `batchpipe run`, and of `map` on files, in MiB; the promise is `--memory` plus 64 MiB. {about(result)}", "",
             "| --memory | promise | jobs | " + " | ".join(f"{n} at a time" for n in (1, 4, 16, 256, 1000)) + " |",
             "|---|--:|---|--:|--:|--:|--:|--:|"]
    groups = {}
    for row in rows:
        groups.setdefault((row["budget"], row["promise"], row["jobs"], row.get("of") or f"× {show(row['size'])}", row["work"]), {})[row["concurrency"]] = row
    for (budget, promise, jobs, what, work), at in groups.items():
        cells = [f"{at[n]['rss'] / MIB:.0f}{'' if at[n]['rss'] <= promise else ' **broken**'}" if n in at else ""
                 for n in (1, 4, 16, 256, 1000)]
        work = "copy" if work == "copy" else f"`{work}`"
        lines.append(f"| {budget} | {promise // MIB} | {jobs:,} {what}, {work} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
