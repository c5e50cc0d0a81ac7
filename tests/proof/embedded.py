"""The same proof on one machine with no service: directories and an SQLite queue, `map` and `run`.

A process is killed at each crash point and at random, and the same command typed again. In the end every input has its
output and nothing else lies there.
"""

import os
import random
import signal
import time

from conservation import PART, POINTS
from lab import check

VISIBILITY = "2s"
# Kills count as receives, and there are more of them here than any job would see in its life.
RECEIVES = 1000


# Names that look like ours, and are not.
FOREIGN = [".batchpipe-notes", ".batchpipe-0123456789abcdeg", ".batchpipe-0123456789abcdef.parts/1", "batchpipe-photos/p", "j-0123456789abcdef", "owner"]


class Foreign:
    """Files of somebody else in every folder that we touch: they are there at the end, with what was in them."""

    def __init__(self, *folders):
        self.files = {folder / name: f"{folder} {name}".encode() for folder in folders for name in FOREIGN}
        for path, body in self.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
            os.utime(path.parent, (0, 0))
            os.utime(path, (0, 0))

    def verify(self):
        touched = [str(path) for path, body in self.files.items() if not path.exists() or path.read_bytes() != body]
        check(not touched, f"{len(touched)} files of somebody else were removed or changed, such as {touched[:3]}")


class Tree:
    """Inputs on the disk and where the outputs go."""

    def __init__(self, lab, name, files, large, seed):
        self.lab, self.chance = lab, random.Random(f"{seed}-{name}")
        self.source, self.dest = lab.folder / f"{name}-in", lab.folder / f"{name}-out"
        self.files = {}
        for number in range(files):
            self.files[f"d{number % 5}/f {number:04d}é.txt"] = self.chance.randbytes(self.chance.choice([0, 1, 100, 3000]))
        for number in range(large):
            self.files[f"large-{number}"] = self.chance.randbytes(self.chance.choice([PART, PART + 1, 2 * PART + 7]))
        for name, body in self.files.items():
            path = self.source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        self.dest.mkdir()
        self.foreign = Foreign(self.dest, self.dest / "d0", self.dest / ".batchpipe", lab.folder / "work")

    def outputs(self):
        found = {}
        for folder, inside, names in os.walk(self.dest):
            if folder == str(self.dest) and ".batchpipe" in inside:
                inside.remove(".batchpipe")
            for name in names:
                path = os.path.join(folder, name)
                if any(str(foreign) == path for foreign in self.foreign.files):
                    continue
                found[os.path.relpath(path, self.dest)] = path
        return found

    def verify(self, expected):
        self.lab.start("gc", ["gc", f"{self.dest}/", "--older-than", "0s"]).expect(0, 30)
        self.foreign.verify()
        found = self.outputs()
        lost = set(self.files) - set(found)
        check(not lost, f"LOST: {len(lost)} inputs have no output, such as {sorted(lost)[:3]}; {self.lab.workers[-2].crash}: {self.lab.workers[-2].words()[-600:]}")
        check(not set(found) - set(self.files), f"left behind: {sorted(set(found) - set(self.files))[:3]}")
        wrong = [name for name, path in found.items() if open(path, "rb").read() != expected(self.files[name])]
        check(not wrong, f"{len(wrong)} outputs are wrong, such as {wrong[:3]}")


def doomed(tree, worker, point, seconds):
    """Lets a process run until its crash point, or for so long; then it is killed. Its exit status."""
    end = time.monotonic() + seconds
    told = False
    while worker.ended() is None and time.monotonic() < end:
        if point and point.startswith("CP12") and not told and time.monotonic() - worker.begun > 0.6:
            worker.signal(signal.SIGTERM)
            told = True
        time.sleep(0.02)
    if worker.ended() is None:
        worker.kill()
    return worker.wait(10)


def arguments(extra=()):
    return ["--part-size", "1MiB", "--memory", "128MiB", "--concurrency", 8, "--visibility-timeout", VISIBILITY, "--max-receives",
            RECEIVES, "--progress", "none", "--metrics-addr", "none", *extra]


def map_survives(lab, files, large, randoms, loops=1):
    """`map`, killed at each point and at random times, with the same command typed again until it is done."""
    tree = Tree(lab, f"map-{lab.next()}", files, large, lab.seed)
    command = ["map", tree.source, tree.dest, *arguments(), "--", "tr", "a-z", "A-Z"]
    plan = POINTS * loops + [None] * randoms
    tree.chance.shuffle(plan)
    kills = {}
    for point in plan:
        crash = point and f"{point}:{tree.chance.randint(1, 1 if point == 'CP12' else 3)}"
        worker = lab.start("map", command, crash=crash, environment={"LC_ALL": "C"})
        code = doomed(tree, worker, point, 6.0 if point else tree.chance.uniform(0.05, 1.0))
        if code == -signal.SIGKILL:
            name = point if point and f"crash point {point}" in worker.words() else "random"
            kills[name] = kills.get(name, 0) + 1
        elif not (point == "CP12" and code == 5):
            check(code == 0, f"map ended with {code}: {worker.words()[-600:]}")
            tree.verify(bytes.upper)
            # It is done: some outputs are removed, so that there is work for the next kill.
            for name in tree.chance.sample(sorted(tree.files), len(tree.files) // 2):
                (tree.dest / name).unlink()
    lab.start("map", command, environment={"LC_ALL": "C"}).expect(0, 120)
    tree.verify(bytes.upper)
    worker = lab.start("map", command, environment={"LC_ALL": "C"}).expect(0, 60)
    tree.verify(bytes.upper)
    return {"jobs": len(tree.files), "kills": kills}


def run_survives(lab, files, large, randoms, loops=1):
    """`submit` and two workers on one SQLite queue, killed in turn."""
    tree = Tree(lab, f"run-{lab.next()}", files, large, lab.seed)
    queue = f"sqlite:{lab.folder / f'queue-{lab.next()}.db'}"
    store = lab.folder / f"store-{lab.counter}"
    submit = ["submit", tree.source, "--input", f"{store}/", "--output", f"{tree.dest}/", "--queue", queue, "--progress", "none"]
    for attempt in range(3):
        worker = lab.start("submit", submit)
        if attempt < 2:
            time.sleep(tree.chance.uniform(0.1, 0.4))
            worker.kill()
    worker.expect(0, 60)
    command = ["run", "--queue", queue, "--allow", f"{store}/", "--allow", f"{tree.dest}/", "--wait-time", "1s", "--process", "copy",
               "--work-dir", lab.folder / "work", *arguments(["--drain-timeout", "10s"])]
    plan = POINTS * loops + [None] * randoms
    tree.chance.shuffle(plan)
    kills = {}
    while plan:
        # There is work for the next two: messages come twice in life, too.
        lab.start("again", [*submit, "--journal", "none"]).expect(0, 60)
        pair = []
        for point in (plan.pop(), plan.pop() if plan else None):
            crash = point and f"{point}:{tree.chance.randint(1, 1 if point == 'CP12' else 2)}"
            pair.append((point, lab.start("doomed", command, crash=crash)))
        for point, worker in pair:
            code = doomed(tree, worker, point, 4.0 if point else tree.chance.uniform(0.1, 1.5))
            check(code in (0, -signal.SIGKILL), f"a worker ended with {code}: {worker.words()[-600:]}")
            if code == -signal.SIGKILL:
                name = point if point and f"crash point {point}" in worker.words() else "random"
                kills[name] = kills.get(name, 0) + 1
    lab.start("last", command + ["--until-empty"]).expect(0, 120)
    tree.verify(lambda body: body)
    return {"jobs": len(tree.files), "kills": kills}
