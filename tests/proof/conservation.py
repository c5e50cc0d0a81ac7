"""Thousands of jobs, workers that are killed at every commit point and at random, a network in bad weather: nothing is lost.

At the end each job has exactly its output, byte for byte, or its message is in the dead letters with the reason; there is
nothing else. The log of the proxy shows the order of things: no delete before the answer to the write it stands on. It is
read as it comes (`order.py`).
"""

import collections
import json
import random
import signal
import subprocess
import time

from lab import Failed, check, say, until
from order import Order

POINTS = [f"CP{number}" for number in range(1, 13)]
PART = 5 << 20
# How long a message stays a dead worker's: the least that is not itself a fault on a busy machine.
VISIBILITY = 6
# A crash point that is not reached by then gets another try later; the worker is killed all the same.
PATIENCE = 12.0
# Kills of `submit` in each round.
KILLS_OF_SUBMIT = 3
# Points that only an output of several parts passes.
LARGE_ONLY = {"CP5", "CP6"}


class Mode:
    """What is done to the objects, and what must come of them."""

    def __init__(self, name, arguments=(), program=(), suffix="", expected=lambda body: body):
        self.name, self.arguments, self.program, self.suffix, self.expected = name, arguments, program, suffix, expected


def modes():
    return {
        "copy": Mode("copy"),
        "zstd": Mode("zstd", ["--process", "zstd"], suffix=".zst", expected=None),
        "program": Mode("program", program=["tr", "a-z", "A-Z"], expected=bytes.upper),
    }


def weather(proxy):
    """A little of everything, all the time."""
    s3 = "GetObject HeadObject PutObject CreateMultipartUpload UploadPart CompleteMultipartUpload AbortMultipartUpload"
    sqs = "ReceiveMessage DeleteMessageBatch ChangeMessageVisibilityBatch SendMessageBatch"
    rule = proxy.rule
    rule("latency", share=0.05, pause=0.2, jitter=True)
    rule("status", s3, share=0.02, status=503, code="SlowDown")
    rule("status", s3, share=0.01, status=500, code="InternalError")
    rule("status", sqs, share=0.01, status=500, code="InternalFailure")
    rule("status", sqs, share=0.01, status=400, code="RequestThrottled")
    rule("reset", share=0.01)
    rule("reset-after", share=0.01)
    rule("truncate", "GetObject", share=0.01)
    rule("reset-body", "GetObject", share=0.01)
    rule("flip", "GetObject", share=0.01)
    rule("flip-up", "PutObject UploadPart", share=0.01)
    rule("silence", s3, share=0.001)
    rule("silence-after", "CompleteMultipartUpload", share=0.05)
    rule("error-in-200", "CompleteMultipartUpload", share=0.05)
    rule("reset-after", "CompleteMultipartUpload DeleteMessageBatch SendMessageBatch", share=0.05)
    rule("partial", "DeleteMessageBatch", share=0.05)
    rule("partial", "ChangeMessageVisibilityBatch SendMessageBatch", share=0.05)
    rule("duplicate", "ReceiveMessage", share=0.05)
    rule("bad-md5", "ReceiveMessage", share=0.005)


class Round:
    """One mode, one queue, one pair of buckets."""

    def __init__(self, lab, mode, jobs, large, kills, randoms, workers, seed):
        self.lab, self.mode, self.workers = lab, mode, workers
        self.chance = random.Random(f"{seed}-{mode.name}")
        self.queue = f"jobs-{mode.name}-{lab.next()}"
        self.inputs, self.outputs = f"in-{mode.name}-{lab.counter}", f"out-{mode.name}-{lab.counter}"
        self.jobs, self.large = jobs, large
        self.plan = [point for point in POINTS for _ in range(kills)]
        self.chance.shuffle(self.plan)
        self.randoms = randoms
        self.kills = collections.Counter()
        self.missed = collections.Counter()
        self.order = Order(self.queue, self.inputs, self.outputs, mode.suffix, VISIBILITY)
        self.peak = 0

    def run(self):
        lab = self.lab
        lab.server.make_bucket(self.inputs)
        lab.server.make_bucket(self.outputs)
        lab.server.make_queue(self.queue, receives=1000, visibility=VISIBILITY)
        self.make_files()
        self.submit()
        self.add_bad_ones()
        weather(lab.proxy)
        self.work()
        lab.proxy.calm()
        self.settle()
        return self.verify()

    def make_files(self):
        self.folder = self.lab.folder / f"files-{self.queue}"
        self.folder.mkdir()
        self.files = {}
        for number in range(self.jobs):
            size = self.chance.choice([0, 1, 100, 1000, 4000])
            self.files[f"d{number % 7}/s{number:05d} +&%é.txt"] = self.chance.randbytes(size)
        sizes = [PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 1]
        for number in range(self.large):
            size = sizes[number] if number < len(sizes) else self.chance.randrange(PART, 3 * PART)
            self.files[f"large/{number:03d}"] = self.chance.randbytes(size)
        for name, body in self.files.items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(body)

    def submit(self):
        """Submits all of them, through kills in the middle; the same command goes on."""
        arguments = ["submit", self.folder, "--input", f"s3://{self.inputs}/i/", "--output", f"s3://{self.outputs}/o/", "--queue",
                     self.queue, "--part-size", "5MiB", "--memory", "256MiB", "--progress", "none"]
        for attempt in range(12):
            worker = self.lab.start(f"submit-{self.mode.name}-{attempt}", arguments)
            if attempt < KILLS_OF_SUBMIT:
                # By what it has done, not by the clock: a quick machine would be through, and nothing killed.
                began = self.lab.proxy.log.mark()
                wanted = self.chance.randint(1, max(1, len(self.files) // (2 * KILLS_OF_SUBMIT)))
                self.until(worker, lambda began=began, wanted=wanted: self.lab.proxy.log.mark() - began >= wanted)
                self.kills["submit"] += worker.ended() is None
                worker.kill()
                continue
            if worker.wait(180) == 0:
                break
        check(self.kills["submit"] == KILLS_OF_SUBMIT, f"only {self.kills['submit']} submits were killed")
        check(worker.ended() == 0, f"submit never succeeded: {worker.words()[-500:]}")
        # What the killed ones left unanswered has nothing more to say.
        self.note(to_the_end=True)
        self.bodies = self.order.bodies
        wanted = {f"{self.inputs}/i/{name}" for name in self.files}
        check(set(self.bodies) == wanted, f"{len(wanted - set(self.bodies))} files have no job")

    def add_bad_ones(self):
        self.bad = {json.dumps({"v": 1, "input": f"s3://{self.inputs}/none/{number}", "output": f"s3://{self.outputs}/o/none{number}"}): "BP301"
                    for number in range(5)}
        self.bad.update({f"no job {number}": "BP201" for number in range(3)})
        self.order.bad = set(self.bad)
        self.lab.server.send(self.queue, list(self.bad))

    def note(self, **how):
        """Reads on in the log."""
        for op in self.lab.proxy.log.take(**how):
            self.order.note(op)

    def pause(self, worker, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and worker.ended() is None:
            time.sleep(0.02)

    def until(self, worker, reached):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and worker.ended() is None and not reached():
            time.sleep(0.002)

    def start(self, slot, crash):
        name = f"w{slot}-{self.lab.next()}"
        concurrency = self.chance.choice([4, 8, 16])
        worker = self.lab.run(
            name, self.queue, *self.mode.arguments, program=self.mode.program, crash=crash, environment={"LC_ALL": "C"},
            settings={"--visibility-timeout": f"{VISIBILITY}s", "--concurrency": concurrency},
        )
        worker.patience = PATIENCE
        worker.doom = None
        if crash is None and self.randoms > 0:
            self.randoms -= 1
            worker.doom = worker.begun + self.chance.uniform(0.5, 4.0)
        if crash and crash.startswith("CP12"):
            worker.doom = worker.begun + self.chance.uniform(1.5, 3.0)
        return worker

    def next_crash(self):
        if self.randoms > 0 and (not self.plan or self.chance.random() < 0.3):
            return None
        if not self.plan:
            return None
        point = self.plan.pop(0)
        most = 3 if point in LARGE_ONLY else 1 if point == "CP12" else 12
        return f"{point}:{self.chance.randint(1, most)}"

    def work(self):
        """Keeps the workers going, and dying, until every planned kill has happened."""
        running = [self.start(slot, self.next_crash()) for slot in range(self.workers)]
        limit = time.monotonic() + 60 + 12 * (len(self.plan) + self.randoms)
        fed = time.monotonic()
        while self.plan or self.randoms > 0 or any(worker.crash or worker.doom for worker in running):
            if time.monotonic() > limit:
                raise Failed(f"the kills took too long; left: {self.plan} and {self.randoms} random ones")
            time.sleep(0.05)
            now = time.monotonic()
            for slot, worker in enumerate(running):
                code = worker.ended()
                self.peak = max(self.peak, worker.look())
                point = worker.crash and worker.crash.split(":")[0]
                if code is not None:
                    self.buried(worker, code, point)
                    running[slot] = self.start(slot, self.next_crash())
                elif worker.doom and now > worker.doom:
                    if point == "CP12" and worker.patience == PATIENCE:
                        worker.signal(signal.SIGTERM)
                        worker.doom, worker.patience = now + 5, 5
                        continue
                    worker.kill()
                    self.kills["random"] += 1
                    if point:
                        self.again(point)
                    running[slot] = self.start(slot, self.next_crash())
                elif point and not worker.doom and now - worker.begun > PATIENCE:
                    worker.kill()
                    self.kills["random"] += 1
                    self.again(point)
                    running[slot] = self.start(slot, self.next_crash())
            if now - fed > 1.0:
                fed = now
                self.feed()
                self.note()
        self.running = running

    def buried(self, worker, code, point):
        if code == -signal.SIGKILL and f"crash point {point}" in worker.words():
            self.kills[point] += 1
            return
        if point == "CP12" and code in (0, 8):
            # It had drained before the point: nothing was left to drain.
            self.again(point)
            return
        if code == 1 and "cannot reach" in worker.words() and not self.lab.proxy.worked(worker.name):
            # The weather kept it from opening its queue, three times in a row; whoever started it starts it again.
            self.missed["start"] += 1
            check(self.missed["start"] < 4, f"workers can't start: {worker.words()[-300:]}")
            if point:
                self.plan.append(point)
            return
        raise Failed(f"{worker.name} ended by itself with {code} (to crash at {worker.crash}): {worker.words()[-900:]}")

    def again(self, point):
        self.missed[point] += 1
        check(self.missed[point] < 12, f"crash point {point} is never reached")
        self.plan.append(point)

    def feed(self):
        """A queue that runs dry gets jobs again that were done before: doing them again must change nothing."""
        visible, in_flight, delayed = self.lab.server.counts(self.queue)
        if visible + delayed < 20:
            keys = [key for key in self.bodies if "/large/" in key] + self.chance.sample(sorted(self.bodies), min(100, len(self.bodies)))
            self.chance.shuffle(keys)
            self.lab.server.send(self.queue, [self.bodies[key] for key in keys])

    def settle(self):
        """Lets the workers finish what there is, then stops them."""
        # The longest delay before another attempt is what a message gets that was received often: kills count, too.
        until(f"{self.queue} is empty: {self.lab.server.counts(self.queue)}", self.is_empty, 400, 0.3)
        for worker in self.running:
            self.peak = max(self.peak, worker.look())
            worker.signal(signal.SIGTERM)
        for worker in self.running:
            # 8 is for the one that met the bad ones.
            code = worker.wait(40)
            check(code in (0, 8), f"{worker.name} ended with {code}: {worker.words()[-600:]}")
        self.orphans = len(self.lab.server.unfinished(self.outputs))
        self.lab.start("gc", ["gc", f"s3://{self.outputs}/", "--older-than", "0s"]).expect(0, 30)
        check(not self.lab.server.unfinished(self.outputs), "gc left unfinished uploads")

    def is_empty(self):
        self.note()
        return sum(self.lab.server.counts(self.queue)) == 0

    def verify(self):
        outputs = self.lab.server.keys(self.outputs)
        wanted = {f"o/{name}{self.mode.suffix}": body for name, body in self.files.items()}
        lost = set(wanted) - set(outputs)
        check(not lost, f"LOST: {len(lost)} jobs have no output, such as {sorted(lost)[:3]}")
        check(not set(outputs) - set(wanted), f"phantoms: {sorted(set(outputs) - set(wanted))[:3]}")
        wrong = [key for key, body in wanted.items() if not self.is_right(self.lab.server.get(f"{self.outputs}/{key}"), body)]
        check(not wrong, f"{len(wrong)} outputs are wrong, such as {wrong[:3]}")
        self.verify_letters()
        self.note(to_the_end=True)
        order = self.order
        order.nothing_torn()
        return {
            "jobs": len(self.files) + len(self.bad),
            "messages": len(order.messages),
            "kills": dict(self.kills),
            "orphans": self.orphans,
            # Work done more than once for the same message: what the kills and the lost answers cost.
            "repeated": order.writes() - len(order.finished),
            "deletes": order.deletes,
            "peak": self.peak,
        }

    def is_right(self, output, body):
        if self.mode.expected:
            return output == self.mode.expected(body)
        return output is not None and subprocess.run(["zstd", "-dcq"], input=output, stdout=subprocess.PIPE, check=False).stdout == body

    def verify_letters(self):
        letters = self.lab.server.take_all(f"{self.queue}-dlq")
        found = {}
        for letter in letters:
            told = letter.get("MessageAttributes") or {}
            found[letter["Body"]] = told.get("batchpipe-code", {}).get("StringValue")
            check(told.get("batchpipe-reason", {}).get("StringValue"), f"a dead letter without its reason: {letter['Body'][:100]}")
        check(found == self.bad, f"dead letters: {found}, wanted {self.bad}")


def conserve(lab, settings, name):
    """One mode; returns the figures."""
    begun = time.monotonic()
    lab.proxy.faults.clear()
    part = Round(lab, modes()[name], settings["jobs"], settings["large"], settings["kills"], settings["randoms"], settings["workers"], lab.seed)
    try:
        found = part.run()
    except Failed as failed:
        raise Failed(f"{failed}; kills so far {dict(part.kills)}") from failed
    finally:
        lab.proxy.calm()
        lab.stop_workers()
        lab.proxy.forget(queue=part.queue)
    found["faults"] = dict(lab.proxy.faults)
    say(f"       {found['jobs']} jobs, {found['messages']} messages, {sum(found['kills'].values())} kills, {sum(found['faults'].values())} "
        f"faults, {found['repeated']} outputs written again, {found['orphans']} orphans collected, 0 lost ({time.monotonic() - begun:.0f} s)")
    return found
