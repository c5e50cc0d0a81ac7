#!/usr/bin/env python3
"""Scaling, proven by a simulator that reads ops/stack.yaml: it runs batches against the template's own
alarms and policies, then against broken copies of it, each of which must be found out.

With --write it also writes the table and the plot of docs/deploy.md; without, it compares them.
"""

import re
import sys

from checks import check, finish
from metric_math import Wrong
from simulate import Batch, Fleet, Worker
from template import ROOT, Template, load, variant

STACK = load()
OLD = load(ROOT / "tests" / "ops" / "fleet-2013.yaml")
DOC = ROOT / "docs" / "deploy.md"
PLOT = ROOT / "docs" / "scaling.svg"
SEEDS = (1, 2, 3)

BATCHES = [
    # (batch, backlog a machine may have, most wake-ups there can be)
    (Batch("a burst of short jobs", [(600, 2000, 5, 0)], hours=6), 240, 1),
    (Batch("a thousand one-minute jobs", [(600, 1000, 60, 0)], hours=6), 240, 1),
    (Batch("jobs of ten minutes and more", [(600, 300, 600, 0)], hours=8), 24, 1),
    (Batch("two bursts with ten quiet hours between", [(600, 400, 60, 0), (40000, 400, 60, 0)], hours=14), 240, 2),
    (Batch("twenty minutes without metrics in a long tail", [(600, 60, 900, 0)], hours=8, gaps=[(1500, 2700)]), 240, 1),
    (Batch("jobs that can never succeed", [(600, 200, 30, 5)], hours=6), 240, 1),
    (Batch("a job every twenty minutes", [(600 + 1200 * n, 1, 60, 0) for n in range(6)], hours=6), 240, 6),
    (Batch("jobs that are delayed at first", [(600, 50, 300, 0)], hours=6, delayed=40), 240, 2),
    (Batch("no job at all", [], hours=10), 240, 0),
    (Batch("machines ended at work, as in an upgrade", [(600, 500, 60, 0)], hours=6, ends=[900, 1000, 1100]), 240, 1),
    (Batch("Spot takes machines back", [(600, 500, 60, 0)], hours=6, spot=[900, 1000, 1100]), 240, 1),
]


def simulate(document, batch, backlog=240, idle=120, seed=1, **parameters):
    template = Template(document, IdleSeconds=idle, BacklogPerInstance=backlog, **parameters)
    return Fleet(template, batch, Worker(idle=idle), seed).run()


def good(batch, backlog, wake_ups, idle):
    for seed in SEEDS:
        faults = simulate(STACK, batch, backlog, idle, seed).faults(wake_ups)
        assert not faults, f"seed {seed}: {', '.join(faults)}"


# ---------------------------------------------------------------- broken copies

def metrics(document, alarm):
    return document["Resources"][alarm]["Properties"]["Metrics"]


def expression(alarm, text):
    def change(document):
        metrics(document, alarm)[-1]["Expression"] = text
    return change


def alarm(name, key, value):
    def change(document):
        document["Resources"][name]["Properties"][key] = value
    return change


def without(name):
    def change(document):
        del document["Resources"][name]
    return change


def target_tracking(key, value):
    def change(document):
        document["Resources"]["Backlog"]["Properties"]["TargetTrackingConfiguration"][key] = value
    return change


def returns(alarm_name, count):
    def change(document):
        for metric in metrics(document, alarm_name)[:-1]:
            metric["ReturnData"] = count > 1
        metrics(document, alarm_name)[-1]["ReturnData"] = count > 0
    return change


def hook(seconds):
    def change(document):
        hooks = document["Resources"]["Group"]["Properties"]["LifecycleHookSpecificationList"]
        if seconds is None:
            hooks.clear()
        else:
            hooks[0]["HeartbeatTimeout"] = seconds
    return change


def no_redrive(document):
    del document["Resources"]["Queue"]["Properties"]["RedrivePolicy"]


SLEEP = "IF(FILL(wanted, 0) == 0, 1, {})"
BROKEN = [
    ("the sleep alarm looks at visible only", expression("GoToSleepAlarm", SLEEP.format("visible"))),
    ("the sleep alarm has no FILL for in flight", expression("GoToSleepAlarm", SLEEP.format("visible + flying + FILL(delayed, 0)"))),
    ("the sleep alarm has no FILL for delayed", expression("GoToSleepAlarm", SLEEP.format("visible + FILL(flying, 0) + delayed"))),
    ("the sleep alarm fills visible", expression("GoToSleepAlarm", SLEEP.format("FILL(visible, 0) + FILL(flying, 0) + FILL(delayed, 0)"))),
    ("the sleep alarm takes missing data as breaching", alarm("GoToSleepAlarm", "TreatMissingData", "breaching")),
    ("a metric's id is misspelt", expression("GoToSleepAlarm", SLEEP.format("visble + FILL(flying, 0)"))),
    ("no metric returns data", returns("WakeUpAlarm", 0)),
    ("two metrics return data", returns("GoToSleepAlarm", 2)),
    ("there is no alarm to wake up", without("WakeUpAlarm")),
    ("there is no alarm to sleep", without("GoToSleepAlarm")),
    ("it wakes at zero jobs", alarm("WakeUpAlarm", "Threshold", 0)),
    ("target tracking may scale in", target_tracking("DisableScaleIn", False)),
    ("one machine always stays", lambda document: document["Resources"]["Group"]["Properties"].update(MinSize="1")),
    ("there is no termination hook", hook(None)),
    ("the hook is shorter than the drain", hook(30)),
    ("there is no redrive policy", no_redrive),
]


def found_out(change):
    """The faults of a broken copy over all batches; where machines leave by themselves, and where not."""
    document = variant(STACK, change)
    for idle in (0, 120):
        for batch, backlog, wake_ups in BATCHES:
            try:
                faults = simulate(document, batch, backlog, idle).faults(wake_ups)
            except Wrong as wrong:
                faults = [str(wrong)]
            if faults:
                return f"{batch.name}: {', '.join(faults)}"
    raise AssertionError("the simulator did not notice")


# ---------------------------------------------------------------- docs

POLICIES = [
    ("2013 sample", OLD, 0, Worker(extends=False, drains=False)),
    ("2013 alarms, workers that extend and drain", OLD, 0, Worker()),
    ("ops/stack.yaml, `IdleSeconds=0`", STACK, 0, Worker()),
    ("ops/stack.yaml", STACK, 120, Worker(idle=120)),
]
TABLE = [("1,000 jobs of 60 s", 1000, 60, 240), ("10,000 jobs of 60 s", 10000, 60, 240), ("1,000 jobs of 600 s", 1000, 600, 24)]


def fleet(policy, count, mean, backlog, seed):
    _, document, idle, worker = policy
    template = Template(document)
    if document is STACK:
        template = Template(document, IdleSeconds=idle, BacklogPerInstance=backlog)
    return Fleet(template, Batch("", [(600, count, mean, 0)]), worker, seed).run()


def table():
    lines = [
        "| batch | scaling | done | last job, min | asleep, min | cut off or given back | done twice | wake-ups | instance-hours |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, count, mean, backlog in TABLE:
        for policy in POLICIES:
            runs = [fleet(policy, count, mean, backlog, seed) for seed in SEEDS]

            def average(read, digits=1):
                values = [read(run) for run in runs]
                return "never" if None in values else f"{sum(values) / len(values):,.{digits}f}".removesuffix(".0")

            whole = all(run.done == run.jobs for run in runs)
            lines.append("| " + " | ".join([
                name, policy[0], average(lambda run: run.done),
                average(lambda run: (run.last_done - 600) / 60) if whole else "never",
                average(lambda run: None if run.asleep_at is None else (run.asleep_at - 600) / 60),
                average(lambda run: run.cut + run.given_back, 0), average(lambda run: run.twice, 0),
                average(lambda run: run.wake_ups, 0), average(lambda run: run.hours()),
            ]) + " |")
            name = ""
    return "\n".join(lines)


def plot():
    """Machines over time for 1,000 jobs of 60 s, old and new, as an SVG of its own."""
    width, height, left, top = 720, 300, 48, 40
    minutes, most = 60, 10
    across, up = (width - left - 20) / minutes, (height - top - 40) / most
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" font-family="sans-serif" font-size="12">',
        "<title>Machines over time for 1,000 jobs of 60 s that arrive at minute 0</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{left}" y="20" font-size="14" fill="#222222">Machines for 1,000 jobs of 60 s (simulated, one run)</text>',
    ]
    for machines in range(0, most + 1, 2):
        y = height - 40 - machines * up
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{width - 20}" y2="{y:.1f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#555555">{machines}</text>')
    for minute in range(0, minutes + 1, 10):
        x = left + minute * across
        parts.append(f'<text x="{x:.1f}" y="{height - 22}" text-anchor="middle" fill="#555555">{minute}</text>')
    parts.append(f'<text x="{width - 20}" y="{height - 6}" text-anchor="end" fill="#555555">minutes after the jobs arrived</text>')
    for policy, colour, dash, label, spot in (
        (POLICIES[0], "#b3562b", ' stroke-dasharray="5 3"', "2013 sample: wakes, cuts its jobs off, and again", (24, 3.6)),
        (POLICIES[-1], "#1f6f8b", "", "ops/stack.yaml: grows, works, sleeps", (18, 8)),
    ):
        sizes = fleet(policy, 1000, 60, 240, 1).sizes[10:10 + minutes + 1]
        path = f"M{left},{height - 40 - sizes[0] * up:.1f}"
        for minute, size in enumerate(sizes[1:], 1):
            path += f"H{left + minute * across:.1f}V{height - 40 - size * up:.1f}"
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        parts.append(f'<text x="{left + spot[0] * across:.1f}" y="{height - 40 - spot[1] * up:.1f}" fill="{colour}">{label}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


MARKED = re.compile(r"(<!-- simulated: tests/ops/scaling_checks.py --write -->\n).*?(\n<!-- end -->)", re.S)


def documented():
    text = DOC.read_text()
    assert MARKED.search(text), "docs/deploy.md has no place for the table"
    assert MARKED.search(text).group(0).split("\n", 1)[1].removesuffix("\n<!-- end -->") == table(), \
        "docs/deploy.md does not show what the simulator prints: run tests/ops/scaling_checks.py --write"
    assert PLOT.read_text() == plot(), "docs/scaling.svg is not what the simulator draws"


def main():
    if "--write" in sys.argv:
        DOC.write_text(MARKED.sub(lambda match: match[1] + table() + match[2], DOC.read_text()))
        PLOT.write_text(plot())
    for batch, backlog, wake_ups in BATCHES:
        check(f"scaling: all done, none cut, asleep in time: {batch.name}", good, batch, backlog, wake_ups, 120)
        check(f"scaling: and where no machine leaves by itself: {batch.name}", good, batch, backlog, wake_ups, 0)
    for name, change in BROKEN:
        check(f"scaling: found out when {name}", found_out, change)
    check("scaling: the table and the plot in the docs are the simulator's", documented)
    finish()


if __name__ == "__main__":
    main()
