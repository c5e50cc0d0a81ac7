"""The workloads: what is run on which server, with how many jobs, by whom. Each returns results by title."""

import os
import subprocess
import tempfile
from pathlib import Path

from . import clients
from .clients import batchpipe, bare, consumer, loop2013, s5cmd_loop
from .measure import contest, measure
from .place import ENV, GIB, KIB, MIB, Built, say, show
from .servers import Fauxqs, Sink
from .verdicts import BARE_FILES


# After so many bytes the sink's objects repeat themselves (null_sink's ring).
RING = 16 * MIB - 1009


class Size:
    """How much of everything: set once, by `run`."""

    scale = 1.0
    repeat = 3
    smoke = False
    full = False


def scaled(number):
    return max(10, int(number * Size.scale))


def scaled_bytes(size):
    return max(32 * MIB, int(size * min(1.0, Size.scale)))


def once(server, client, size, decode=None):
    """One client works off a queue of its jobs."""
    server.prepare(client.jobs, size)
    result = measure(client.of(server), server, **client.options)
    found = server.verify(client.jobs, size, decode) or {}
    return {**result, "jobs": client.jobs, "bytes": client.jobs * size, "working": found.get("working")}


def race(title, server_of, size, contestants, repeat=None, decode=None, thrice=()):
    """Every contestant works off a queue of its jobs, in turn. A server that keeps what it gets is started for each."""
    with Sink() if server_of is Fauxqs else server_of() as shared:
        def run(name):
            if server_of is not Fauxqs:
                return once(shared, contestants[name], size, decode)
            with Fauxqs() as server:
                return once(server, contestants[name], size, decode)
        result = contest(title, contestants, repeat or Size.repeat, run, thrice)
    kind = Fauxqs.kind if server_of is Fauxqs else shared.kind
    return {title: {**result, "server": kind, "size": size}}


def small():
    count, few = scaled(10_000), scaled(500)
    contestants = {"batchpipe": batchpipe(count, 64), "bare SDK loop": bare(count, 64)}
    if not Size.smoke:
        contestants |= {
            "bare loop, S3 without the SDK": bare(count, 64, "raw"),
            "sqs-consumer × 8": consumer(6 * few, 8),
            "s5cmd cat | s5cmd pipe": s5cmd_loop(few // 5, "cat"),
            "2013 loop": loop2013(few, 1, "cp"),
            "2013 loop, 16 threads": loop2013(few, 16, "cp"),
        }
    # Two runs of three seconds one after the other, of the same program, may differ by a third where the machine has other guests.
    return race("4 KiB copies", Sink, 4 * KIB, contestants, thrice=("batchpipe", "bare SDK loop"))


def latency():
    count, few = scaled(5_000), scaled(200)
    return race("4 KiB copies, 20 ms away", lambda: Sink(delay=20), 4 * KIB, {
        "batchpipe": batchpipe(count, 64),
        "batchpipe --concurrency 256": batchpipe(2 * count, 256),
        "batchpipe --concurrency auto": batchpipe(2 * count, "auto"),
        "bare SDK loop": bare(count, 64),
        "sqs-consumer × 8": consumer(5 * few, 8),
        "2013 loop": loop2013(few // 2, 1, "cp"),
        "2013 loop, 16 threads": loop2013(2 * few, 16, "cp"),
    })


def real():
    count, few = scaled(2_000), scaled(300)
    return race("4 KiB copies on fauxqs", Fauxqs, 4 * KIB, {
        "batchpipe": batchpipe(count, 64),
        "bare SDK loop": bare(count, 64),
        "sqs-consumer × 8": consumer(count, 8),
        "2013 loop": loop2013(few, 1, "cp"),
        "2013 loop, 16 threads": loop2013(few, 16, "cp"),
    })


def zstd():
    count, few = scaled(2_000), scaled(200)

    def decode(output):
        return subprocess.run(["zstd", "-d", "-c"], input=output, stdout=subprocess.PIPE, check=True).stdout

    results = race("1 MiB zstd:1", Sink, MIB, {
        "batchpipe --process zstd:1": batchpipe(count, 32, "--process", "zstd:1"),
        "batchpipe -- zstd -1": batchpipe(2 * few, 32, "--", "zstd", "-1", "-q"),
        "s5cmd cat | zstd -1 | s5cmd pipe": s5cmd_loop(few // 2, "zstd", "-1", "-q"),
        "2013 loop, zstd -1": loop2013(few, 1, *clients.ZSTD_FILES),
        "2013 loop, zstd -1, 4 threads": loop2013(few, 4, *clients.ZSTD_FILES),
    }, decode=decode)
    # The same at a level that costs eight times as much: what moving the bytes costs stands beside that.
    results |= race("1 MiB zstd:9", Sink, MIB, {
        "batchpipe --process zstd:9": batchpipe(count // 4, 32, "--process", "zstd:9")}, decode=decode)
    # And with neither a network nor a server on the same cores: what is left is the codec, and the pipeline around it.
    results |= on_files({1: count, 9: count // 4}, decode)
    # What the halves of such a job cost by themselves: the bytes' way in and out, and the codec in memory.
    results |= race("1 MiB copies", Sink, MIB, {"batchpipe": batchpipe(count, 32), "bare SDK loop": bare(count, 32)})
    cores = os.cpu_count()
    levels = {f"zstd:{level}, {threads} {'thread' if threads == 1 else 'threads'}": (level, threads, max(10, count // share))
              for level, share in ((1, 4), (9, 32)) for threads in (1, cores)}
    # And what becomes of the codec when others use the caches, and the other half of the cores: copies that know nothing of it.
    beside = ", beside copies"
    levels |= {name + beside: how for name, how in levels.items() if how[1] == cores}

    def codec(name):
        level, threads, each = levels[name]
        command = [Built.programs / "codec_speed", str(level), str(threads), str(each)]
        if name.endswith(beside):
            said = during_copies(command)
        else:
            said = subprocess.run(command, check=True, capture_output=True)
        wall, cpu = map(float, said.stdout.split())
        return {"wall": wall, "cpu": cpu, "served": 0.0, "rss": 0, "jobs": threads * each, "bytes": threads * each * MIB,
                "working": None}

    alone = contest("zstd in memory", levels, Size.repeat, codec)
    return results | {"zstd in memory": {**alone, "server": "none", "size": MIB}}


def on_files(counts, decode):
    """`map` over files in memory, for each level so many of 1 MiB, and the least that any program must do with them: read, compress,
    write, sync, rename. Every output is decompressed and compared."""
    results, cores = {}, os.cpu_count()
    with Sink() as server:
        content = server.content(MIB)
    for level, count in counts.items():
        with tempfile.TemporaryDirectory(dir=in_memory()) as source:
            write_files(Path(source) / "in", content, MIB, count)

            def run(name, level=level, count=count, source=source):
                with tempfile.TemporaryDirectory(dir=in_memory()) as place:
                    home = {"HOME": place, "XDG_STATE_HOME": place}
                    command = [Built.batchpipe, "map", f"{source}/in", f"{place}/out", "--process", f"zstd:{level}",
                               "--metrics-addr", "none", "--config", "none"]
                    if name == BARE_FILES:
                        Path(place, "out").mkdir()
                        command = [Built.programs / "codec_speed", level, cores, f"{source}/in", f"{place}/out"]
                    result = measure(command, None, source, home)
                    outputs = [output.read_bytes() for output in Path(place, "out").glob("*.zst")]
                if len(outputs) != count or any(decode(output) != content for output in set(outputs)):
                    raise SystemExit("wrong outputs")
                return {**result, "jobs": count, "bytes": count * MIB, "working": None}

            title = f"1 MiB zstd:{level} on files"
            result = contest(title, ["batchpipe map", BARE_FILES], Size.repeat, run)
        results[title] = {**result, "server": "none", "size": MIB}
    return results


def in_memory():
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def during_copies(command):
    # More than it can do meanwhile.
    copies = bare(20_000, 8)
    with Sink() as server:
        server.prepare(copies.jobs, MIB)
        copying = subprocess.Popen([str(word) for word in copies.of(server)], env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        said = subprocess.run(command, check=True, capture_output=True)
        if copying.poll() is not None:
            raise SystemExit("the copies ended before the codec")
        copying.kill()
        copying.wait()
    return said


def large():
    size = scaled_bytes(GIB)
    contestants = {"batchpipe": batchpipe(4, 4), "bare SDK loop": bare(4, 4)}
    if not Size.smoke:
        contestants |= {
            "sqs-consumer, lib-storage": consumer(4, 1),
            "s5cmd cat | s5cmd pipe": s5cmd_loop(4, "cat"),
            "2013 loop": loop2013(1, 1, "cp"),
        }
    return race("Large copies", Sink, size, contestants)


def real_large():
    """Parts of fauxqs live in its memory, so the objects are smaller; s5cmd's multipart upload fails there. It does all on one
    thread, and the more is under way at once the longer each byte takes it: with less memory there is less under way."""
    return race("Large copies on fauxqs", Fauxqs, scaled_bytes(256 * MIB), {
        "batchpipe": batchpipe(4, 4), "batchpipe --memory 128MiB": batchpipe(4, 4, memory="128MiB"), "bare SDK loop": bare(4, 4),
        "sqs-consumer, lib-storage": consumer(4, 1), "2013 loop": loop2013(4, 1, "cp"),
    })


def huge():
    return race("One huge object through cat", Sink, scaled_bytes(4 * GIB), {
        "batchpipe -- cat": batchpipe(1, 4, "--", "cat"),
        "batchpipe -- cat, --memory 64MiB": batchpipe(1, 4, "--", "cat", memory="64MiB"),
        "batchpipe, copy": batchpipe(1, 4),
        "bare SDK loop, copy": bare(1, 4),
        "s5cmd cat | cat | s5cmd pipe": s5cmd_loop(1, "cat"),
        "2013 loop, cp": loop2013(1, 1, "cp"),
    })


def tls():
    """What encryption adds."""
    def server():
        return Sink(tls=True)

    results = race("4 KiB copies over TLS", server, 4 * KIB, {
        "batchpipe": batchpipe(scaled(5_000), 64), "bare SDK loop": bare(scaled(5_000), 64)})
    return results | race("Large copies over TLS", server, scaled_bytes(512 * MIB), {
        "batchpipe": batchpipe(4, 4), "bare SDK loop": bare(4, 4)})


# A thousand jobs are a third of a second, in which the machine is not yet itself: the middle one of so many runs counts.
SHORT = 5


def linear():
    """The same job, with ever more of them in the queue. All lengths in turn, since the machine changes its speed by the minute."""
    counts = [scaled(1_000), scaled(10_000), scaled(100_000)]
    who = {"batchpipe": batchpipe, "bare SDK loop": bare}
    turns = {f"{count:,}, {name}": client(count, 64) for count in counts for name, client in who.items()}
    with Sink() as server:
        def run(name):
            client = turns[name]
            runs = [once(server, client, 4 * KIB) for _ in range(SHORT if client.jobs == counts[0] else 1)]
            return sorted(runs, key=lambda run: run["working"])[len(runs) // 2]

        result = contest("queued jobs", turns, Size.repeat, run)
    return {f"{count:,} queued jobs": {"runs": {name: result["runs"][f"{count:,}, {name}"] for name in who}, "load": result["load"],
                                       "server": server.kind, "size": 4 * KIB} for count in counts}


def memory():
    """Peak memory against the promise, over budgets (20 MiB is about the least), concurrency and sizes."""
    rows = []
    with Sink() as server:
        cases = [("64MiB", scaled_bytes(4 * GIB), 1, 4, ["--", "cat"]), ("20MiB", scaled_bytes(GIB), 2, 4, [])]
        cases += [(budget, size, scaled(count), concurrency, [])
                  for budget in ("20MiB", "64MiB", "512MiB")
                  for size, count in ((4 * KIB, 4_000), (MIB, 400), (64 * MIB, 16))
                  for concurrency in (1, 16, 256, 1000)]
        for budget, size, count, concurrency, work in cases:
            server.prepare(count, size)
            result = measure(batchpipe(count, concurrency, *work, memory=budget).of(server), server)
            server.verify(count, size)
            promise = (int(budget[:-3]) + 64) * MIB
            rows.append({"budget": budget, "size": size, "jobs": count, "concurrency": concurrency,
                         "work": " ".join(work) or "copy", "rss": result["rss"], "promise": promise, "wall": result["wall"]})
            say(f"  memory {budget} {count} × {show(size)} at {concurrency}: {result['rss'] / MIB:.0f} MiB of {promise // MIB}")
    return {"Memory": {"rows": rows + of_all_sizes()}}


def of_all_sizes():
    """The same for `map` over files, no two of one length: what is left over from one rarely fits the next."""
    rows, count = [], scaled(240)
    sizes = [(3 * MIB + number * 7_368_787 % (12 * MIB)) for number in range(count)]
    with Sink() as server, tempfile.TemporaryDirectory(dir=in_memory()) as source:
        content = server.content(15 * MIB)
        Path(source, "in").mkdir()
        for number, size in enumerate(sizes):
            Path(source, "in", f"{number:04}").write_bytes(content[:size])
        for budget in ("64MiB", "256MiB", "512MiB"):
            for work in ("copy", "zstd:1"):
                for concurrency in (1, 16, 256, 1000):
                    with tempfile.TemporaryDirectory(dir=in_memory()) as place:
                        home = {"HOME": place, "XDG_STATE_HOME": place}
                        result = measure([Built.batchpipe, "map", f"{source}/in", f"{place}/out", "--process", work, "--memory", budget,
                                          "--concurrency", concurrency, "--metrics-addr", "none", "--config", "none"], None, source, home)
                        found = sum(1 for _ in Path(place, "out").glob("[0-9]*"))
                    if found != count:
                        raise SystemExit(f"{found} outputs of {count}")
                    promise = (int(budget[:-3]) + 64) * MIB
                    rows.append({"budget": budget, "size": 9 * MIB, "of": "files of 3–15 MiB", "jobs": count, "concurrency": concurrency,
                                 "work": work, "rss": result["rss"], "promise": promise, "wall": result["wall"]})
                    say(f"  memory {budget} {count} files of 3–15 MiB, {work}, at {concurrency}: {result['rss'] / MIB:.0f} MiB of {promise // MIB}")
    return rows


def submit():
    """Twice: over plain http some hash every byte of an upload to sign it, and over TLS nobody needs to."""
    shapes = {
        "many small files": (4 * KIB, scaled(10_000)),
        "some large files": (64 * MIB, max(2, scaled(32))),
        "one huge file": (scaled_bytes(2 * GIB), 1),
    }
    tls = {f"{shape} over TLS": files for shape, files in shapes.items()}
    return upload(shapes, Sink) | upload(tls, lambda: Sink(tls=True))


# Takes ten times as long for a small file and more: it gets a twentieth of them.
SLOW = "aws s3 cp"


def upload(shapes, server_of):
    """Files of a directory into a bucket; batchpipe also announces each to a queue."""
    results = {}
    for shape, (size, whole) in shapes.items():
        place = in_memory()
        few = whole // 20 if whole >= 1_000 else whole
        with tempfile.TemporaryDirectory(dir=place) as source, tempfile.TemporaryDirectory(dir=place) as part, server_of() as server:
            piece = server.content(min(size, RING))
            write_files(Path(source) / str(size), piece, size, whole)
            commands = clients.uploaders(server, source, Size.full)
            if few < whole:
                write_files(Path(part) / str(size), piece, size, few)
                commands[SLOW] = clients.uploaders(server, part, False)[SLOW]

            def run(name):
                (command, extra), count = commands[name], few if name == SLOW else whole
                with tempfile.TemporaryDirectory() as home:
                    server.ask("POST", "/_reset")
                    result = measure(command, server, home, {**extra, "XDG_STATE_HOME": home, "HOME": home})
                server.verify(count, size, left=count if name.startswith("batchpipe") else 0)
                return {**result, "jobs": count, "bytes": count * size, "working": None}

            result = contest(f"submit {shape}", commands, Size.repeat, run)
            results[f"Submit: {shape}"] = {**result, "server": server.kind, "size": size}
    return results


def write_files(where, piece, size, count):
    where.mkdir()
    for number in range(count):
        with open(where / f"{number:07}", "wb") as file:
            for start in range(0, size, len(piece)):
                file.write(piece[:size - start])


WORKLOADS = {"small": small, "latency": latency, "real": real, "zstd": zstd, "large": large, "real_large": real_large,
             "huge": huge, "tls": tls, "linear": linear, "memory": memory, "submit": submit}
