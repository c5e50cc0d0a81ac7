"""The tables of docs/scaling.md: arithmetic on what docs/benchmarks.json says was measured."""

import math

from .measure import cpu_per_gib, cpu_per_job, median

# Of the cores, what a worker may have: the rest is for network interrupts, which loopback hardly has, and for the system.
CORES = 0.7
# Of the line, what arrives as bytes of objects: the rest is headers of TCP, TLS and HTTP, and no line is always full.
LINE = 0.9
# What one prefix of a bucket takes, in writes a second
# (https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html).
PUTS = 3500
# What one connection to S3 carries, in MiB/s (the same page says 85-90 MB/s), and how long a small request takes, in seconds.
CONNECTION, REQUEST = 82, 0.03
# A small job is a GET and a PUT long: its message is asked for while its slot is still at work.
JOB = 2 * REQUEST
# Dollars for a million requests, list prices of us-east-1 without volume discounts; a job has 0.3 requests of SQS (batches of ten).
PUT_PRICE, GET_PRICE, SQS_PRICE = 5.0, 0.4, 0.3 * 0.4
MACHINES, LINES = (16, 48, 192), (25, 50, 100, 200)
BILLION = 1_000_000_000


def needed(figures):
    titles = ("4 KiB copies over TLS", "Large copies over TLS", "Large copies", "One huge object through cat", "zstd in memory")
    return all(title in figures for title in titles)


def tables(figures):
    """Blocks by name."""
    runs = {title: result["runs"] for title, result in figures.items() if "runs" in result}
    job = median(runs["4 KiB copies over TLS"]["batchpipe"], cpu_per_job)
    copy = median(runs["Large copies over TLS"]["batchpipe"], cpu_per_gib)
    huge = runs["One huge object through cat"]
    pipe = median(huge["batchpipe -- cat"], cpu_per_gib) - median(huge["batchpipe, copy"], cpu_per_gib)
    codec = median(runs["zstd in memory"]["zstd:1, 1 thread"], cpu_per_gib)
    return {
        "measured": measured(job, copy, median(runs["Large copies"]["batchpipe"], cpu_per_gib), pipe, codec),
        "copies": machines(copy),
        "zstd": machines(copy + codec),
        "small": small(job),
        "billion": billion(job, copy, codec),
    }


def measured(job, copy, plain, pipe, codec):
    return "\n".join([
        "| what | CPU-seconds | from the table |", "|---|--:|---|",
        f"| a job of 4 KiB, over TLS | {1e6 * job:.0f} µs | *4 KiB copies over TLS* |",
        f"| a GiB copied, over TLS | {copy:.2f} | *Large copies over TLS* |",
        f"| the same over plain http, for comparison | {plain:.2f} | *Large copies* |",
        f"| a GiB through the pipes of a program, in addition | {pipe:.2f} | *One huge object through cat*, less its copy |",
        f"| a GiB of text through zstd:1, in addition | {codec:.2f} | *zstd in memory* |"]) + "\n"


def machines(cost):
    """GiB/s of machines and lines, when a GiB costs so many CPU-seconds."""
    lines = ["| vCPUs | " + " | ".join(f"{line} Gbit/s" for line in LINES) + " |", "|--:|" + "---|" * len(LINES)]
    for cores in MACHINES:
        cells = []
        for line in LINES:
            wire, work = line * LINE / 8 * 1e9 / 2**30, cores * CORES / cost
            cells.append(f"{wire:.1f} GiB/s, the line; {wire * cost:.0f} cores busy" if wire < work
                         else f"{work:.1f} GiB/s, **the cores**")
        lines.append(f"| {cores} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def small(job):
    lines = ["| vCPUs | jobs/s that the cores could do | `--concurrency` for it | prefixes to spread over |", "|--:|--:|--:|--:|"]
    for cores in MACHINES:
        rate = cores * CORES / job
        lines.append(f"| {cores} | {rate:,.0f} | {rate * JOB:,.0f} | {math.ceil(rate / PUTS)} |")
    return "\n".join(lines) + "\n"


def billion(job, copy, codec):
    """A billion jobs on machines of 48 vCPUs and 50 Gbit/s, in a day."""
    cores, line, day = 48 * CORES, 50 * LINE / 8 * 1e9, 86_400
    prices = BILLION / 1e6 * (PUT_PRICE + GET_PRICE + SQS_PRICE)
    lines = ["| a billion objects | CPU, core-hours | machine-days by cores | by the line | by one prefix of S3 | requests, $ |",
             "|---|--:|--:|--:|--:|--:|"]
    for name, size, each in (("4 KiB, copied", 4 << 10, job), ("1 MiB, zstd:1", 1 << 20, job + (copy + codec) / 1024),
                             ("64 MiB, copied", 64 << 20, job + copy / 16)):
        # 64 MiB are eight parts, and two requests around them.
        bill = prices if size <= 8 << 20 else prices + BILLION / 1e6 * (9 * PUT_PRICE + 7 * GET_PRICE)
        puts = BILLION * (1 if size <= 8 << 20 else 10) / PUTS
        lines.append(f"| {name} | {BILLION * each / 3600:,.0f} | {BILLION * each / cores / day:,.1f} | "
                     f"{BILLION * size / line / day:,.1f} | {puts / day:,.1f} days | {bill:,.0f} |")
    return "\n".join(lines) + "\n"
