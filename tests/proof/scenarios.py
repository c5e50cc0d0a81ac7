"""One fault at a time, each with what must come of it.

The numbers are those of the fault matrix that the report counts. Each scenario has a queue, buckets and workers of its
own, and faults that meet only those, so that several run side by side.
"""

import contextlib
import hashlib
import http.client
import http.server
import json
import os
import random
import resource
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from lab import Skipped, check, until

PART = 5 << 20
# Where a message must come once and leases are not the question: a machine that stands still for three seconds, half of
# the usual timeout, must not look like a fault.
CALM = {"--visibility-timeout": "60s"}
SQS = "ReceiveMessage DeleteMessageBatch ChangeMessageVisibilityBatch SendMessageBatch"
WRITES = "PutObject CreateMultipartUpload UploadPart CompleteMultipartUpload"


class Scene:
    """A queue, two buckets, some jobs and the workers on them."""

    def __init__(self, lab, name):
        self.lab, self.server, self.proxy = lab, lab.server, lab.proxy
        number = lab.next()
        self.name = f"s{number}-{name}."
        self.queue, self.inputs, self.outputs = f"s{number}", f"s{number}-in", f"s{number}-out"
        self.chance = random.Random(f"{lab.seed}-{name}")
        self.server.make_bucket(self.inputs)
        self.server.make_bucket(self.outputs)
        self.objects, self.workers = {}, []
        self.mark = self.proxy.log.mark()

    def jobs(self, count=10, size=1000, *, receives=5, visibility=6):
        self.server.make_queue(self.queue, receives=receives, visibility=visibility)
        for number in range(count):
            self.put(f"k{number}", self.chance.randbytes(size))
        self.server.send(self.queue, [self.message(key) for key in self.objects])
        return self

    def put(self, key, body):
        self.objects[key] = body
        self.server.put(f"{self.inputs}/{key}", body)

    def message(self, key):
        return json.dumps({"v": 1, "input": f"s3://{self.inputs}/{key}", "output": f"s3://{self.outputs}/{key}"})

    def worker(self, *arguments, name="w", program=(), settings=None, **how):
        worker = self.lab.run(self.name + name, self.queue, *arguments, program=program, settings=settings, **how)
        self.workers.append(worker)
        return worker

    def fault(self, action, kinds=None, *, name="", **how):
        return self.proxy.rule(action, kinds, worker=self.name + name, **how)

    def ops(self, kinds=None, worker=""):
        names = kinds and set(kinds.split())
        return [op for op in self.proxy.log.since(self.mark, self.name + worker) if names is None or op.kind in names]

    def deliveries(self):
        """How often each message was handed out."""
        count = {}
        for op in self.ops("ReceiveMessage"):
            for message, _, _ in op.messages:
                count[message] = count.get(message, 0) + 1
        return count

    def counts(self):
        return self.server.counts(self.queue)

    def drained(self, limit=60):
        until(f"{self.queue} is empty", lambda: sum(self.counts()) == 0, limit, 0.1)

    def whole(self, expected=lambda body: body, but=()):
        """Every job has exactly its output, and there is nothing else."""
        found = self.server.keys(self.outputs)
        wanted = set(self.objects) - set(but)
        check(set(found) == wanted, f"outputs {sorted(found)[:5]}…, wanted {len(wanted)}: missing {sorted(wanted - set(found))[:3]}")
        for key in wanted:
            check(self.server.get(f"{self.outputs}/{key}") == expected(self.objects[key]), f"the output of {key} is wrong")

    def letters(self):
        return [(letter["Body"], {name: value.get("StringValue") for name, value in (letter.get("MessageAttributes") or {}).items()})
                for letter in self.server.take_all(f"{self.queue}-dlq")]

    def no_letters(self):
        count = sum(self.server.counts(f"{self.queue}-dlq"))
        check(count == 0, f"{count} jobs were dead-lettered that were not at fault")

    def finish(self, *arguments, limit=90, **how):
        """One worker does it all."""
        worker = self.worker("--until-empty", *arguments, **how)
        worker.expect(0, limit)
        self.whole()
        self.no_letters()
        return worker

    def first(self, kinds, limit=20, worker=""):
        return until(f"a {kinds}", lambda: next((op for op in self.ops(kinds, worker)), None), limit)

    def close(self):
        for worker in self.workers:
            if worker.ended() is None:
                worker.signal(signal.SIGCONT)
                worker.kill()
        self.proxy.forget(self.name, self.queue)


SCENARIOS = []


def scenario(faults, *, alone=False):
    """Adds a check; `faults` are its numbers in the matrix."""

    def add(function):
        SCENARIOS.append((faults, function, alone))
        return function

    return add


# Signals.


@scenario("F2")
def a_stop_while_idle_asks_for_nothing_more_and_ends_with_0(scene):
    scene.jobs(0)
    worker = scene.worker(settings={"--wait-time": "3s"})
    scene.first("ReceiveMessage")
    time.sleep(0.5)
    stopped = time.monotonic()
    worker.signal(signal.SIGTERM)
    worker.expect(0, 8)
    late = [op for op in scene.ops("ReceiveMessage") if op.begun > stopped + 0.3]
    check(not late, f"{len(late)} receives after the stop")
    return {"drain": time.monotonic() - stopped}


@scenario("F2")
def what_an_open_poll_still_brings_after_a_stop_is_not_left_hidden(scene):
    scene.jobs(0)
    scene.put("late", b"late")
    worker = scene.worker(settings={"--wait-time": "4s", "--visibility-timeout": "60s"})
    scene.first("ReceiveMessage")
    time.sleep(0.5)
    worker.signal(signal.SIGTERM)
    time.sleep(0.3)
    scene.server.send(scene.queue, [scene.message("late")])
    worker.expect(0, 12)
    visible, hidden, delayed = scene.counts()
    check(hidden + delayed == 0, f"{hidden} hidden, {delayed} delayed")
    if visible == 0:
        scene.whole()


@scenario("F2")
def a_stop_in_the_middle_of_jobs_finishes_them_and_leaves_the_rest(scene):
    scene.jobs(20)
    worker = scene.worker(program=["sh", "-c", "sleep 1.5; cat"], settings={"--concurrency": 4, "--processors": 4})
    until("four jobs", lambda: len(scene.ops("GetObject")) >= 4, 20)
    time.sleep(0.5)
    stopped = time.monotonic()
    worker.signal(signal.SIGTERM)
    worker.expect(0, 15)
    done = len(scene.server.keys(scene.outputs))
    visible, hidden, delayed = scene.counts()
    check(done + visible == 20 and hidden + delayed == 0, f"{done} done, {visible} visible, {hidden} hidden, {delayed} delayed")
    check(done >= 4, f"only {done} were finished")
    return {"drain": time.monotonic() - stopped}


@scenario("F2 F10")
def a_drain_out_of_time_gives_back_at_once_and_ends_with_5(scene):
    scene.jobs(4)
    worker = scene.worker(program=["sleep", "73.1"], settings={"--drain-timeout": "2s", "--visibility-timeout": "60s", "--processors": 4})
    until("four jobs", lambda: len(scene.ops("GetObject")) >= 4, 20)
    time.sleep(0.5)
    stopped = time.monotonic()
    worker.signal(signal.SIGTERM)
    worker.expect(5, 20)
    took = time.monotonic() - stopped
    check(took < 2 + 5, f"the drain of 2 s took {took:.1f} s")
    check(scene.counts() == (4, 0, 0), f"visible, hidden, delayed: {scene.counts()}")
    check(not scene.server.keys(scene.outputs) and not scene.ops("DeleteMessageBatch"), "something was published or deleted")
    until("the programs are gone with the worker", lambda: not processes("73.1"), 3)
    return {"drain": took}


@scenario("F3", alone=True)
def a_second_interrupt_ends_within_a_second_with_130(scene):
    scene.jobs(4, visibility=2, receives=100)
    took = []
    # What else the machine does may make one late; what waits for something is late every time.
    while len(took) < 3 and (not took or min(took) >= 1.0):
        worker = scene.worker(name=f"w{len(took)}", program=["sleep", "73.2"], settings={"--processors": 4, "--visibility-timeout": "2s"})
        until("four jobs", lambda: len(scene.ops("GetObject", worker.name.removeprefix(scene.name))) >= 4, 20)
        time.sleep(0.5)
        worker.signal(signal.SIGINT)
        time.sleep(0.5)
        check(worker.ended() is None, "the first one did not wait")
        stopped = time.monotonic()
        worker.signal(signal.SIGINT)
        worker.expect(130, 10)
        took.append(time.monotonic() - stopped)
    check(min(took) < 1.0, f"took {took} s")
    check(not scene.ops("DeleteMessageBatch"), "something was deleted")
    until("the programs are gone with the worker", lambda: not processes("73.2"), 3)


@scenario("F4 F38")
def a_worker_that_was_frozen_publishes_nothing_that_another_has_done(scene):
    scene.jobs(3, visibility=3)
    settings = {"--visibility-timeout": "3s", "--concurrency": 3, "--processors": 3}
    frozen = scene.worker(name="a", program=["sh", "-c", "sleep 8; cat"], settings=settings)
    until("three jobs", lambda: len(scene.ops("GetObject", "a")) >= 3, 20)
    time.sleep(0.6)
    frozen.signal(signal.SIGSTOP)
    other = scene.worker(name="b", settings=settings)
    scene.drained(30)
    # Its programs were not frozen: by now, or soon after, they are done and their output waits in the pipes.
    thawed = time.monotonic()
    frozen.signal(signal.SIGCONT)
    time.sleep(8)
    wrote = [op.key for op in scene.ops(WRITES, "a") if op.begun > thawed]
    check(not wrote, f"it published after its leases were lost: {wrote}")
    frozen.signal(signal.SIGTERM)
    other.signal(signal.SIGTERM)
    frozen.expect(0, 15)
    other.expect(0, 15)
    scene.whole()
    check("BP601" in frozen.words(), f"no lost lease was told of: {frozen.words()[-300:]}")
    burst = len([op for op in scene.ops("ChangeMessageVisibilityBatch", "a") if thawed < op.begun < thawed + 1])
    check(burst <= 4, f"{burst} renewals within a second of waking up")


def processes(word):
    """Processes that have this word on their command line."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as line:
                words = line.read().split(b"\0")
            with open(f"/proc/{pid}/stat") as stat:
                dead = stat.read().rsplit(")", 1)[1].split()[0] in "ZX"
        except OSError:
            continue
        if word.encode() in words and not dead:
            found.append(pid)
    return found


# Programs.


@scenario("F7")
def a_program_that_hangs_and_ignores_signals_dies_with_its_whole_group(scene):
    scene.jobs(2, receives=2)
    script = 'trap "" TERM INT; sleep 73.3 & sleep 73.3'
    worker = scene.worker(program=["sh", "-c", script], settings={"--job-timeout": "1s", "--processors": 2})
    until("two dead letters", lambda: sum(scene.server.counts(f"{scene.queue}-dlq")) == 2, 40)
    until("the program's children are gone", lambda: not processes("73.3"), 3)
    for _, told in scene.letters():
        check(told.get("batchpipe-code") == "BP404", f"dead-lettered with {told}")
    worker.signal(signal.SIGTERM)
    worker.expect(8, 15)
    check(not scene.server.keys(scene.outputs), "something was published")


@scenario("F8 F46")
def poison_goes_to_the_dead_letters_with_its_last_words_and_hurts_nobody(scene):
    scene.jobs(12, receives=2)
    script = 'case "$BATCHPIPE_KEY" in k3) head -c 10; echo no luck >&2; exit 1;; k5) kill -9 $$;; k7) echo bad >&2; exit 65;; *) cat;; esac'
    worker = scene.worker("--until-empty", program=["sh", "-c", script])
    worker.expect(8, 60)
    scene.whole(but=["k3", "k5", "k7"])
    found = {json.loads(body)["input"].rsplit("/", 1)[1]: told for body, told in scene.letters()}
    check(set(found) == {"k3", "k5", "k7"}, f"dead letters: {found}")
    check("no luck" in found["k3"].get("batchpipe-stderr", "") and found["k3"].get("batchpipe-attempt") == "2", f"k3: {found['k3']}")
    check("SIGKILL" in found["k5"].get("batchpipe-reason", ""), f"k5: {found['k5']}")
    check(found["k7"].get("batchpipe-attempt") == "1", f"k7 was tried again: {found['k7']}")


@scenario("F47")
def what_cannot_be_dead_lettered_is_kept(scene):
    scene.jobs(3)
    scene.fault("status", "SendMessageBatch", status=500, code="InternalFailure")
    worker = scene.worker(program=["sh", "-c", "exit 65"])
    until("the letters were tried", lambda: len(scene.ops("SendMessageBatch")) >= 5, 40)
    time.sleep(4)
    worker.signal(signal.SIGTERM)
    worker.wait(40)
    check(sum(scene.counts()) == 3, f"messages left: {scene.counts()}")
    check(not scene.ops("DeleteMessageBatch"), "an original was deleted")


# The machine.


class Lateness:
    """How late a thread of this process is woken, moment by moment: the proxy's log is as late as that."""

    STEP = 0.05

    def __init__(self):
        self.woken, self.ended = [], threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.ended.is_set():
            begun = time.monotonic()
            time.sleep(self.STEP)
            now = time.monotonic()
            self.woken.append((now, now - begun - self.STEP))

    def around(self, moment):
        """The worst of those sleeps that the moment, or the step after it, lies in."""
        return max((late for now, late in self.woken if now - late - 2 * self.STEP <= moment <= now + self.STEP), default=0.0)

    def stop(self):
        self.ended.set()
        self.thread.join()


@scenario("F9", alone=True)
def heartbeats_hold_while_the_processors_are_starved(scene):
    scene.jobs(6, size=0, visibility=4)
    for key in list(scene.objects):
        # Text of many words: the highest level works on it for seconds.
        words = [scene.chance.randbytes(4).hex().encode() for _ in range(3000)]
        scene.put(key, b" ".join(scene.chance.choice(words) for _ in range(700_000)))
    late = Lateness()
    burners = [subprocess.Popen(["sh", "-c", "while :; do :; done"], start_new_session=True) for _ in range(2 * os.cpu_count())]
    try:
        # An xz:9 is given 691 MiB: so much that all processors may run.
        worker = scene.worker("--process", "xz:9", settings={"--visibility-timeout": "4s", "--concurrency": 6, "--processors": os.cpu_count(),
                                                             "--memory": f"{256 + 700 * os.cpu_count()}MiB"})
        time.sleep(16)
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    scene.drained(120)
    worker.signal(signal.SIGTERM)
    worker.expect(0, 30)
    late.stop()
    last, worst, widest, beats = {}, 0.0, 0.0, 0
    for op in scene.ops("ReceiveMessage ChangeMessageVisibilityBatch DeleteMessageBatch"):
        # The burners hold up the proxy, too, and what it saw late was not sent late; but only what it was late by then.
        seen_late = late.around(op.begun)
        for handle in [handle for _, handle, _ in op.messages] + op.handles:
            if handle in last:
                beats += 1
                gap = op.begun - last[handle]
                worst, widest = max(worst, gap - seen_late), max(widest, gap)
            # A receive counts from its request.
            last[handle] = op.begun
    check(beats > 10, f"only {beats} heartbeats were seen")
    # The interval is half of the timeout.
    check(worst <= 1.5 * 2.0, f"the worst gap was {worst:.2f} s of an interval of 2 s, less what the proxy was late; {widest:.2f} s with it")
    # However late the proxy was: after a gap of the whole timeout the message was anybody's.
    check(widest < 4.0, f"a gap of {widest:.2f} s: the machine is too slow to tell, or a lease was let go")
    doubled = [one for one, times in scene.deliveries().items() if times > 1]
    check(not doubled, f"{len(doubled)} messages were lost to others")
    return {"heartbeat_gap": widest, "heartbeat_interval": 2.0}


@scenario("F6")
def a_worker_that_the_kernel_kills_for_its_memory_loses_nothing(scene):
    group = Path("/sys/fs/cgroup/memory") / f"batchpipe-{os.getpid()}-{scene.queue}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(8 << 20))
    except OSError as error:
        raise Skipped(f"no memory group of our own here: {error}") from error
    try:
        scene.jobs(10, size=3 * PART, receives=100, visibility=4)
        # It heeds the limit that it starts under, so the limit comes later.
        worker = scene.worker(settings={"--visibility-timeout": "4s"})
        scene.first("GetObject")
        (group / "cgroup.procs").write_text(str(worker.pid))
        code = worker.wait(60)
        check(code == -signal.SIGKILL, f"the kernel did not kill it: {code}")
    finally:
        until("the group is empty", lambda: not (group / "cgroup.procs").read_text(), 10)
        group.rmdir()
    scene.finish(settings={"--visibility-timeout": "4s"}, name="after")


@scenario("F11")
def a_full_work_directory_fails_no_job(scene):
    work = scene.lab.folder / f"{scene.queue}-work"
    work.mkdir()
    probe = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=8m", "none", str(work)], capture_output=True, check=False)
    if probe.returncode:
        raise Skipped(f"no tmpfs of our own here: {probe.stderr.decode(errors='replace').strip()}")
    scene.jobs(6, size=3 << 20, receives=100)
    worker = scene.worker(
        program=["sh", "-c", "sleep 2; cat \"$0\"", "{input}"], settings={"--work-dir": work, "--concurrency": 6, "--max-receives": 3},
        wrapper=["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size=8m none {work} && exec "$@"', "sh"],
    )
    scene.drained(120)
    worker.signal(signal.SIGTERM)
    worker.expect(0, 30)
    check("BP501" in worker.words(), f"the disk was never full: {worker.words()[-300:]}")
    scene.whole()
    scene.no_letters()


@scenario("F12")
def a_work_directory_that_cannot_be_written_is_told_before_a_job_is_taken(scene):
    scene.jobs(2)
    worker = scene.worker(program=["cat", "{input}"], settings={"--work-dir": "/proc/none"})
    # Something is missing or denied. 3 is only doctor's.
    worker.expect(4, 15)
    check("BP502" in worker.words(), worker.words()[-300:])
    check(scene.counts() == (2, 0, 0) and not scene.ops("ReceiveMessage"), "a job was taken")


@scenario("F13")
def sixty_four_open_files_are_enough_or_the_number_is_named(scene):
    scene.jobs(60, size=20000)

    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    worker = scene.worker("--until-empty", settings={"--concurrency": None}, limits=few)
    code = worker.wait(90)
    if code == 2:
        check("64" in worker.words(), f"refused, and not with the number: {worker.words()[-300:]}")
        return
    check(code == 0, f"{code}: {worker.words()[-400:]}")
    scene.whole()
    scene.no_letters()


@scenario("F14")
def the_next_start_removes_the_files_of_a_dead_worker(scene):
    scene.jobs(2, visibility=2)
    work = scene.lab.folder / f"{scene.queue}-work"
    settings = {"--work-dir": work, "--visibility-timeout": "2s"}
    dead = scene.worker(program=["sh", "-c", "sleep 20", "sh", "{input}"], settings=settings)
    until("a file", lambda: list(work.glob("*/*/j-*")), 20)
    dead.kill()
    # Folders and files of others, by names that begin like ours.
    foreign = [work / "batchpipe-photos/p", work / "batchpipe-1-0123456789abcdef/photo.jpg", work / "batchpipe-out/owner"]
    for path in foreign:
        path.parent.mkdir()
        path.write_bytes(b"mine")
        os.utime(path.parent, (0, 0))
    check(list(work.glob("*/*/j-*")), "nothing was left behind")
    worker = scene.worker("--until-empty", program=["cat", "{input}"], settings=settings)
    worker.expect(0, 40)
    check(all(path.read_bytes() == b"mine" for path in foreign), "a foreign file was touched")
    check(len(list(work.iterdir())) == len(foreign), f"left: {list(work.iterdir())}")
    scene.whole()


# Faults of its own.


@scenario("F5")
def a_panic_in_a_stage_is_one_jobs_failure(scene):
    scene.jobs(10)
    worker = scene.finish(crash="CP3:3:panic", settings=CALM)
    check("BP702" in worker.words() and "crash point CP3" in worker.words(), f"nothing panicked: {worker.words()[-300:]}")
    check(max(scene.deliveries().values()) == 2, f"deliveries: {scene.deliveries()}")


@scenario("F5")
def a_panic_beside_the_jobs_ends_the_worker_with_1_and_loses_nothing(scene):
    scene.jobs(10)
    for point in ("CP1", "CP10"):
        worker = scene.worker(name=point, crash=f"{point}:1:panic")
        worker.expect(1, 30)
        check("error[BP702]" in worker.words(), worker.words()[-300:])
    scene.finish(name="after")


@scenario("F5")
def the_keeper_of_the_leases_goes_on_after_a_panic(scene):
    scene.jobs(3, visibility=10)
    worker = scene.finish(crash="leases:3:panic", program=["sh", "-c", "sleep 16; cat"], settings={"--visibility-timeout": "10s", "--processors": 3})
    check("begins anew" in worker.words(), f"nothing panicked: {worker.words()[-300:]}")
    check(max(scene.deliveries().values()) == 1, f"deliveries: {scene.deliveries()}")


# The watchdog adds what its worker's own deadlines explain: a small part and short waits make that little.
QUICK = {"--stuck-timeout": "1s", "--visibility-timeout": "4s", "--part-size": "64KiB", "--memory": "64MiB"}


def stuck(scene, point, *, jobs=4, settings=None):
    """A worker that gets stuck at the point; what it says when it has ended with 7."""
    scene.jobs(jobs, visibility=4, receives=100)
    worker = scene.worker(name="stuck", crash=point, settings={**QUICK, **(settings or {})})
    until("it gets stuck", lambda: "crash point" in worker.words(), 20)
    return worker


@scenario("I17")
def jobs_that_never_move_again_end_the_worker_with_7_and_are_done_by_another(scene):
    worker = stuck(scene, "CP8:2:hang", settings={"--metrics-addr": "127.0.0.1:0"})
    port = until("a listener", lambda: listening(worker.pid), 20)

    def unwell():
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 503
        return False

    until("it says that it is unwell", unwell, 90, 0.5)
    worker.expect(7, 90)
    check("error[BP701]: no job moves" in worker.words() and "upload: " in worker.words(), worker.words()[-400:])
    scene.finish(name="after")


@scenario("I17")
def a_runtime_that_stands_still_ends_the_worker_with_7(scene):
    # Each thread of the runtime meets a job that never lets it go.
    threads = 2 * os.cpu_count()
    worker = stuck(scene, "CP2:1:block", jobs=threads + 4, settings={"--concurrency": threads + 4, "--memory": f"{64 + 4 * threads}MiB"})
    worker.expect(7, 150)
    check("error[BP701]: the runtime runs no task" in worker.words(), worker.words()[-400:])
    scene.finish(name="after")


@scenario("I17")
def a_keeper_of_leases_that_stands_still_ends_the_worker_with_7(scene):
    worker = stuck(scene, "leases:2:block", jobs=0)
    worker.expect(7, 150)
    check("error[BP701]: the keeper of the leases" in worker.words(), worker.words()[-400:])


@scenario("I17")
def neither_a_long_program_nor_an_idle_worker_nor_an_outage_looks_stuck(scene):
    scene.jobs(1, visibility=4, receives=100)
    long = scene.worker("--until-empty", name="long", program=["sh", "-c", "sleep 70; cat"], settings=QUICK)
    until("the long job", lambda: scene.ops("GetObject", "long"), 20)
    # This one receives nothing for as long, and for most of that nobody answers it.
    idle = scene.worker(name="idle", settings=QUICK)
    scene.first("ReceiveMessage", worker="idle")
    scene.fault("silence", "ReceiveMessage", name="idle")
    long.expect(0, 120)
    check(idle.ended() is None, f"it ended with {idle.ended()}: {idle.words()[-400:]}")
    idle.signal(signal.SIGTERM)
    idle.expect(0, 30)
    scene.whole()


# The network.


@scenario("F15 F23")
def a_server_that_is_away_is_waited_for(scene):
    scene.jobs(20)
    worker = scene.worker(program=["sh", "-c", "sleep 0.5; cat"])
    until("a few jobs", lambda: len(scene.ops("PutObject")) >= 3, 30)
    scene.proxy.down(worker.name)
    time.sleep(6)
    check(worker.ended() is None, f"it gave up: {worker.words()[-300:]}")
    scene.proxy.up(worker.name)
    back = time.monotonic()
    scene.drained(90)
    worker.signal(signal.SIGTERM)
    worker.expect(0, 30)
    scene.whole()
    scene.no_letters()
    return {"recovery": time.monotonic() - back}


@scenario("F23")
def a_partition_is_survived(scene):
    scene.jobs(20)
    worker = scene.worker(program=["sh", "-c", "sleep 0.5; cat"])
    until("a few jobs", lambda: len(scene.ops("PutObject")) >= 3, 30)
    scene.fault("silence", seconds=12)
    time.sleep(12)
    scene.drained(120)
    worker.signal(signal.SIGTERM)
    worker.expect(0, 30)
    scene.whole()
    scene.no_letters()


@scenario("F16")
def a_silent_server_is_given_up_and_asked_again(scene):
    scene.jobs(6)
    for kind in ("GetObject", "PutObject", "ReceiveMessage", "DeleteMessageBatch"):
        scene.fault("silence", kind, times=1)
    scene.finish(limit=120)


@scenario("F17")
def a_body_that_drips_is_taken_up_at_the_byte_it_reached(scene):
    scene.jobs(1, size=1 << 20)
    scene.fault("drip", "GetObject", times=1, bytes=1000, pause=0.05)
    begun = time.monotonic()
    scene.finish(limit=70)
    took = time.monotonic() - begun
    gets = scene.ops("GetObject")
    check(len(gets) == 2 and not gets[1].range.startswith("bytes=0-"), f"ranges: {[op.range for op in gets]}")
    # 20 s until it counts as slow, of the 52 that the drip would take.
    check(took < 45, f"took {took:.0f} s")


@scenario("F18")
def a_body_that_stops_is_taken_up_within_seconds(scene):
    scene.jobs(1, size=1 << 20)
    scene.fault("stall-body", "GetObject", times=1)
    begun = time.monotonic()
    scene.finish(limit=40)
    gets = scene.ops("GetObject")
    check(len(gets) == 2 and not gets[1].range.startswith("bytes=0-"), f"ranges: {[op.range for op in gets]}")
    check(time.monotonic() - begun < 20, "it took too long")


@scenario("F19")
def a_reset_in_any_phase_costs_no_attempt(scene):
    scene.jobs(6, size=2 * PART + 5)
    for kind in ("GetObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "ReceiveMessage", "DeleteMessageBatch"):
        scene.fault("reset", kind, times=2, skip=1)
        if kind != "ReceiveMessage":
            scene.fault("reset-after", kind, times=2, skip=1)
    scene.fault("reset-body", "GetObject", times=3, skip=2)
    scene.finish(limit=120, settings=CALM)
    check(max(scene.deliveries().values()) == 1, f"deliveries: {scene.deliveries()}")


@scenario("F20")
def a_truncated_body_never_becomes_a_short_object(scene):
    scene.jobs(8, size=100_000)
    scene.fault("truncate", "GetObject", times=6, share_sent=0.7)
    scene.finish(settings=CALM)
    check(max(scene.deliveries().values()) == 1, f"deliveries: {scene.deliveries()}")


@scenario("F21")
def flipped_bits_of_a_download_are_seen_where_the_store_sends_a_checksum(scene):
    scene.server.make_queue(scene.queue, receives=5)
    folder = scene.lab.folder / f"{scene.queue}-files"
    folder.mkdir()
    for number in range(6):
        body = scene.objects[f"k{number}"] = scene.chance.randbytes(50_000)
        (folder / f"k{number}").write_bytes(body)
    submit = scene.lab.start(scene.name + "submit", ["submit", folder, "--input", f"s3://{scene.inputs}/", "--output",
                                                     f"s3://{scene.outputs}/", "--queue", scene.queue, "--progress", "none"])
    submit.expect(0, 40)
    # S3 sends the sum of a part with the range that is that part; this server sends none with ranges.
    scene.fault("flip", "GetObject", times=4, sum=True)
    scene.finish()
    flipped = [op for op in scene.ops("GetObject") if op.fault == "flipped"]
    check(len(flipped) == 4, f"only {len(flipped)} bodies were changed")


@scenario("F22")
def flipped_bits_of_an_upload_are_refused_and_sent_again(scene):
    scene.jobs(4, size=PART + 7)
    scene.put("small", b"small")
    scene.server.send(scene.queue, [scene.message("small")])
    scene.fault("flip-up", "UploadPart PutObject", times=4)
    scene.finish()


@scenario("F24")
def connections_that_a_router_forgot_are_replaced(scene):
    scene.jobs(4)
    worker = scene.worker()
    scene.drained(30)
    scene.proxy.freeze(worker.name)
    for number in range(4):
        scene.put(f"later{number}", b"later")
    sent = time.monotonic()
    scene.server.send(scene.queue, [scene.message(f"later{number}") for number in range(4)])
    scene.drained(60)
    worker.signal(signal.SIGTERM)
    worker.expect(0, 30)
    scene.whole()
    check(time.monotonic() - sent < 45, "it took too long")


@scenario("F25")
def half_a_second_of_latency_costs_time_and_nothing_else(scene):
    scene.jobs(10, size=PART + 1)
    scene.fault("latency", pause=0.5)
    scene.finish(limit=120, settings=CALM)
    check(max(scene.deliveries().values()) == 1, f"deliveries: {scene.deliveries()}")


@scenario("F26")
def a_server_that_reads_slowly_holds_up_the_worker_and_not_its_memory(scene):
    scene.jobs(8, size=2 * PART)
    scene.fault("slow-read", least=PART, pause=2.0, times=10)
    worker = scene.worker("--until-empty", settings={"--memory": "64MiB"})
    peak = 0
    while worker.ended() is None and time.monotonic() - worker.begun < 300:
        peak = worker.look()
        time.sleep(0.05)
    worker.expect(0, 5)
    scene.whole()
    check(peak < (64 + 96) * 1024, f"peak memory {peak >> 10} MiB with a budget of 64 MiB")


@scenario("F27")
def an_answer_before_the_body_is_read_does_not_hang_an_upload(scene):
    scene.jobs(3, size=2 * PART)
    scene.fault("early", least=PART, times=4)
    scene.finish()


# S3.


@scenario("F28")
def a_storm_of_503_burns_no_job(scene):
    scene.jobs(40)
    scene.fault("status", "GetObject PutObject", status=503, code="SlowDown", seconds=20)
    worker = scene.worker()
    time.sleep(20)
    cleared = time.monotonic()
    scene.drained(120)
    worker.signal(signal.SIGTERM)
    worker.expect(0, 30)
    scene.whole()
    scene.no_letters()
    most = max(scene.deliveries().values())
    check(most <= 4, f"a message was received {most} times")
    requests = len([op for op in scene.ops("GetObject PutObject") if op.status == 503])
    check(requests < 40 * 20, f"{requests} requests into the storm")
    return {"recovery": time.monotonic() - cleared, "receives": most, "requests": requests}


@scenario("F29")
def every_passing_failure_of_s3_is_passed_over(scene):
    scene.jobs(10, size=1000)
    scene.put("large", scene.chance.randbytes(2 * PART + 1))
    scene.server.send(scene.queue, [scene.message("large")])
    for status, code in ((500, "InternalError"), (502, "BadGateway"), (503, "ServiceUnavailable"), (504, "GatewayTimeout"),
                         (429, "TooManyRequests"), (400, "RequestTimeout")):
        for kind in ("GetObject", "PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"):
            if (kind, code) == ("CreateMultipartUpload", "RequestTimeout"):
                continue
            scene.fault("status", kind, times=1, skip=scene.chance.randrange(2), status=status, code=code)
    scene.finish(limit=120)


@scenario("F30")
def no_right_to_write_stops_the_worker_with_4_and_burns_nothing(scene):
    scene.jobs(30)
    scene.fault("status", "PutObject", status=403, code="AccessDenied")
    worker = scene.worker()
    worker.expect(4, 30)
    check("BP106" in worker.words() and "given back" in worker.words(), worker.words()[-400:])
    check(sum(scene.counts()) == 30, f"messages left: {scene.counts()}")
    scene.no_letters()
    visible, hidden, _ = scene.counts()
    check(visible + hidden == 30, f"visible, hidden: {visible}, {hidden}")


@scenario("F30")
def a_missing_output_bucket_stops_the_worker_and_burns_nothing(scene):
    scene.jobs(30)
    scene.fault("status", "PutObject", status=404, code="NoSuchBucket", text="The specified bucket does not exist")
    worker = scene.worker()
    worker.expect(4, 30)
    check(sum(scene.counts()) == 30, f"messages left: {scene.counts()}")
    scene.no_letters()


@scenario("F31")
def a_missing_input_is_dead_lettered_with_the_reason(scene):
    scene.jobs(4)
    scene.server.delete(f"{scene.inputs}/k2")
    worker = scene.worker("--until-empty")
    worker.expect(8, 40)
    scene.whole(but=["k2"])
    letters = scene.letters()
    check(len(letters) == 1 and letters[0][1].get("batchpipe-code") == "BP301", f"{letters}")


@scenario("F33")
def two_inputs_with_one_output_keep_the_first_and_name_both(scene):
    """Pairs of jobs that name one output, under lost answers: of each pair one is there, and the other is told."""
    scene.server.make_queue(scene.queue, receives=5, visibility=6)
    pairs = [(f"p{number}.csv.gz", f"p{number}.csv.zst") for number in range(20)]
    for pair in pairs:
        for key in pair:
            scene.put(key, scene.chance.randbytes(1000))
    one_output = lambda key: json.dumps({"v": 1, "input": f"s3://{scene.inputs}/{key}", "output": f"s3://{scene.outputs}/{key.split('.')[0]}.csv"})
    scene.fault("reset-after", "PutObject", share=0.2)
    scene.fault("status", "HeadObject", share=0.1, status=503, code="SlowDown")
    for mode, half in (("fail", pairs[:10]), ("skip", pairs[10:])):
        scene.server.send(scene.queue, [one_output(key) for pair in half for key in pair])
        scene.worker("--until-empty", "--if-exists", mode, name=mode).expect(8, 90)
    told = {frozenset(key for key in sum(pairs, ()) if f"/{key}" in facts.get("batchpipe-reason", "")): facts.get("batchpipe-code")
            for _, facts in scene.letters()}
    check(told == {frozenset(pair): "BP315" for pair in pairs}, f"{told}")
    check(set(scene.server.keys(scene.outputs)) == {f"p{number}.csv" for number in range(20)}, "an output is missing, or there are others")
    for number, pair in enumerate(pairs):
        check(scene.server.get(f"{scene.outputs}/p{number}.csv") in [scene.objects[key] for key in pair], f"the output of {pair} is wrong")


@scenario("F71")
def a_store_that_says_success_and_proves_nothing_spoils_and_loses_nothing(scene):
    """A third of the writes is told as done and was not done, or was done and the answer does not say what."""
    scene.jobs(24)
    for number in range(4):
        key = f"large{number}"
        scene.put(key, scene.chance.randbytes(2 * PART + 7))
        scene.server.send(scene.queue, [scene.message(key)])
    lies = scene.fault("lie", "PutObject CompleteMultipartUpload", share=0.3)
    mute = scene.fault("mute", "PutObject CreateMultipartUpload UploadPart CompleteMultipartUpload", share=0.2)
    scene.finish()
    check(lies.acted > 3 and mute.acted > 3, f"{lies.acted} lies and {mute.acted} answers without proof are too few to show anything")


@scenario("F76")
def the_records_of_a_message_are_settled_apart_and_a_redrive_works_only_what_failed(scene):
    """Each message has four records, one of a missing object, and the first worker is killed on its way."""
    scene.server.make_queue(scene.queue, receives=8, visibility=4)
    missing = [f"gone{number}" for number in range(8)]
    record = lambda key: {"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
                          "s3": {"bucket": {"name": scene.inputs}, "object": {"key": key}}}
    bodies = []
    for number, gone in enumerate(missing):
        keys = [f"r{number}-{nth}" for nth in range(3)]
        for key in keys:
            scene.put(key, scene.chance.randbytes(1000))
        keys.insert(scene.chance.randrange(4), gone)
        bodies.append(json.dumps({"Records": [record(key) for key in keys]}))
    scene.server.send(scene.queue, bodies)
    output = ("--output", f"s3://{scene.outputs}/")
    scene.fault("reset-after", "PutObject", share=0.1)
    first = scene.worker(*output, name="killed")
    scene.first("PutObject", worker="killed")
    first.kill()
    scene.worker("--until-empty", *output, name="second").expect(8, 90)
    scene.whole()
    letters = scene.letters()
    held = [record["s3"]["object"]["key"] for body, _ in letters for record in json.loads(body)["Records"]]
    # A kill between the letter and the delete leaves a second letter of one message.
    check(set(held) == set(missing) and len(held) <= len(missing) + 8, f"the letters hold {held}")
    check(all(facts.get("batchpipe-code") == "BP301" for _, facts in letters), f"{letters}")
    for key in missing:
        scene.put(key, scene.chance.randbytes(1000))
    before = len(scene.ops("PutObject"))
    scene.server.send(scene.queue, [body for body, _ in letters])
    scene.worker("--until-empty", *output, name="third").expect(0, 90)
    scene.whole()
    again = {op.key.split("/")[-1] for op in scene.ops("PutObject")[before:]}
    check(again == set(missing), f"a redrive wrote {sorted(again)}")


@scenario("F32")
def an_object_replaced_while_it_is_read_never_becomes_a_mixture(scene):
    scene.jobs(1, size=3 * PART)
    rule = scene.fault("latency", "GetObject", skip=1, times=1, pause=4.0)
    worker = scene.worker("--until-empty", settings={"--concurrency": 1})
    until("the second range", lambda: rule.acted == 1, 20)
    other = scene.chance.randbytes(3 * PART)
    scene.server.put(f"{scene.inputs}/k0", other)
    code = worker.wait(60)
    found = scene.server.get(f"{scene.outputs}/k0")
    check(found in (None, scene.objects["k0"], other), "the output is a mixture of two versions")
    letters = scene.letters()
    check((code == 0 and found is not None) or (code == 8 and len(letters) == 1), f"exit {code}, {len(letters)} dead letters")
    return {"ended": "restarted" if found else "dead-lettered"}


@scenario("F33")
def a_completion_whose_answer_is_lost_is_found_done(scene):
    scene.jobs(4, size=PART + 1)
    scene.fault("reset-after", "CompleteMultipartUpload", times=1)
    scene.fault("error-in-200", "CompleteMultipartUpload", times=1)
    scene.fault("silence-after", "CompleteMultipartUpload", times=1)
    scene.finish(limit=90, settings=CALM)
    check(max(scene.deliveries().values()) == 1, f"deliveries: {scene.deliveries()}")
    check(not scene.server.unfinished(scene.outputs), "an upload is left")


@scenario("F34")
def an_upload_that_cannot_be_aborted_is_collected_later(scene):
    scene.jobs(2, size=PART + 1, receives=2)
    scene.fault("status", "CompleteMultipartUpload", status=400, code="InvalidRequest", text="no")
    scene.fault("status", "AbortMultipartUpload", status=500, code="InternalError")
    worker = scene.worker("--until-empty")
    worker.wait(120)
    check(len(scene.server.unfinished(scene.outputs)) >= 2, "nothing was left: the scenario does not reach its point")
    check("could not be aborted" in worker.words(), worker.words()[-300:])
    scene.lab.start("gc", ["gc", f"s3://{scene.outputs}/", "--older-than", "0s"]).expect(0, 30)
    check(not scene.server.unfinished(scene.outputs), "gc left some")


def with_two_uploads_that_cannot_be_aborted(scene):
    """A worker whose two jobs are dead letters and whose uploads are left, and the rule that keeps them."""
    scene.jobs(2, size=PART + 1, receives=2, visibility=60)
    scene.fault("status", "CompleteMultipartUpload", status=400, code="InvalidRequest", text="no")
    rule = scene.fault("status", "AbortMultipartUpload", status=500, code="InternalError")
    worker = scene.worker("--max-receives", "1", settings=CALM)
    until("two dead letters", lambda: sum(scene.server.counts(f"{scene.queue}-dlq")) == 2, 60)
    check(len(scene.server.unfinished(scene.outputs)) == 2, "nothing was left: the scenario does not reach its point")
    return worker, rule


@scenario("F34")
def an_upload_that_cannot_be_aborted_is_aborted_when_the_service_recovers(scene):
    worker, rule = with_two_uploads_that_cannot_be_aborted(scene)
    tried = rule.acted
    # There is no more work for it: it tries by itself.
    recovered, rule.times = time.monotonic(), 0
    until("both are aborted", lambda: not scene.server.unfinished(scene.outputs), 60, 0.2)
    took = time.monotonic() - recovered
    check(tried >= 2, f"{tried} aborts were tried while none could work")
    worker.signal(signal.SIGTERM)
    worker.expect(8, 30)
    check("could not be aborted; discard" not in worker.words(), "it tells of uploads that are gone")
    check(not scene.server.keys(scene.outputs), "something was published")
    return {"aborted_after": took}


@scenario("F34")
def what_could_not_be_aborted_is_aborted_at_the_end_at_the_latest(scene):
    worker, rule = with_two_uploads_that_cannot_be_aborted(scene)
    rule.times = 0
    worker.signal(signal.SIGTERM)
    worker.expect(8, 30)
    check(not scene.server.unfinished(scene.outputs), "it ended with uploads that could have been aborted")


@scenario("F36")
def etags_that_are_no_checksums_are_taken_for_none(scene):
    scene.jobs(4, size=2 * PART + 1)
    scene.put("small", b"small")
    scene.server.send(scene.queue, [scene.message("small")])
    scene.fault("etag", "PutObject UploadPart CompleteMultipartUpload")
    scene.finish(settings=CALM)
    check(max(scene.deliveries().values()) == 1, f"deliveries: {scene.deliveries()}")


# SQS.


@scenario("F37 F41")
def messages_that_come_twice_are_done_once_at_a_time(scene):
    scene.jobs(20)
    scene.fault("duplicate", "ReceiveMessage", times=12)
    scene.finish()


@scenario("F41")
def a_queue_that_answers_nothing_at_once_is_not_asked_in_a_hot_loop(scene):
    scene.jobs(0)
    scene.fault("empty", "ReceiveMessage")
    worker = scene.worker(settings={"--wait-time": "1s"})
    scene.first("ReceiveMessage")
    time.sleep(4)
    asked = len(scene.ops("ReceiveMessage"))
    worker.signal(signal.SIGTERM)
    worker.expect(0, 10)
    check(asked < 60, f"{asked} receives in 4 s")


@scenario("F1 F19 F39")
def groups_stay_in_order_whatever_happens_to_their_worker(scene):
    """The messages of a group write to one object: at no time may an older one replace what a newer one wrote."""
    scene.queue += ".fifo"
    scene.server.make_queue(scene.queue, visibility=4)
    groups, length = 3, 20
    order = {}
    for group in range(groups):
        bodies = []
        for number in range(length):
            key = f"g{group}-{number:02d}"
            body = f"{key} ".encode() * 50
            scene.server.put(f"{scene.inputs}/{key}", body)
            order[hashlib.md5(body).hexdigest()] = number
            bodies.append(json.dumps({"v": 1, "input": f"s3://{scene.inputs}/{key}", "output": f"s3://{scene.outputs}/g{group}"}))
        scene.objects[f"g{group}"] = body
        scene.server.send(scene.queue, bodies, group=f"g{group}")
    scene.fault("reset-after", "DeleteMessageBatch PutObject", share=0.1)
    scene.fault("partial", "DeleteMessageBatch", share=0.1)
    settings = {"--visibility-timeout": "4s"}
    for point in ("CP3:4", "CP9:5", "CP11:3", "CP10:6", "CP7:2"):
        worker = scene.worker(name=point.replace(":", "-"), crash=point, settings=settings)
        check(worker.wait(40) == -signal.SIGKILL, f"{point} was not reached: {worker.words()[-300:]}")
    worker = scene.worker("--until-empty", name="last", settings=settings)
    worker.expect(0, 60)
    scene.whole()
    written = {}
    for op in scene.ops("PutObject"):
        if op.served == 200:
            written.setdefault(op.key, []).append(order[op.md5])
    for key, numbers in written.items():
        check(numbers == sorted(numbers), f"{key} was written out of order: {numbers}")
        check(set(numbers) == set(range(length)), f"{key}: some were never written: {numbers}")
    many = max(len(op.messages) for op in scene.ops("ReceiveMessage"))
    check(many > groups, f"no receive brought two messages of a group: at most {many}")
    return {"writes": sum(map(len, written.values()))}


@scenario("F38")
def a_lease_that_cannot_be_kept_costs_a_repeat_and_no_more(scene):
    # The queue's own count of receives goes up with every repeat: it must not end the story here.
    scene.jobs(3, visibility=2, receives=100)
    scene.fault("status", "ChangeMessageVisibilityBatch", status=500, code="InternalFailure", seconds=12)
    worker = scene.worker(program=["sh", "-c", "sleep 3; cat"], settings={"--visibility-timeout": "2s", "--processors": 3})
    scene.drained(90)
    worker.signal(signal.SIGTERM)
    worker.expect(0, 20)
    scene.whole()
    scene.no_letters()


@scenario("F39")
def a_delete_that_fails_in_part_or_in_silence_is_made_good(scene):
    scene.jobs(40)
    scene.fault("partial", "DeleteMessageBatch", times=2, share=1.0)
    scene.fault("reset-after", "DeleteMessageBatch", times=2, skip=1)
    scene.fault("status", "DeleteMessageBatch", times=1, skip=2, status=500, code="InternalFailure")
    scene.fault("partial", "DeleteMessageBatch", times=1, skip=1, sender=True, code="ReceiptHandleIsInvalid")
    scene.finish(limit=120)


@scenario("F40 F44")
def limits_and_throttling_of_the_queue_are_waited_out(scene):
    scene.jobs(20)
    scene.fault("status", "ReceiveMessage", status=403, code="OverLimit", seconds=3)
    scene.fault("status", SQS, share=0.5, status=400, code="RequestThrottled", seconds=6)
    scene.fault("status", SQS, share=0.5, status=400, code="KmsThrottled", seconds=6)
    worker = scene.worker()
    scene.drained(90)
    worker.signal(signal.SIGTERM)
    worker.expect(0, 30)
    scene.whole()
    scene.no_letters()


@scenario("F42")
def a_body_that_does_not_match_its_checksum_is_not_obeyed(scene):
    scene.jobs(6)
    scene.fault("bad-md5", "ReceiveMessage", times=2)
    worker = scene.worker()
    scene.drained(60)
    worker.signal(signal.SIGTERM)
    worker.expect(0, 20)
    scene.whole()
    scene.no_letters()
    check("BP211" in worker.words(), f"nothing was noticed: {worker.words()[-300:]}")


@scenario("F43")
def a_queue_that_is_deleted_ends_the_worker_with_4(scene):
    scene.jobs(0)
    worker = scene.worker()
    scene.first("ReceiveMessage")
    scene.server.delete_queue(scene.queue)
    worker.expect(4, 30)
    check("BP103" in worker.words(), worker.words()[-300:])


@scenario("F48")
def expired_credentials_end_the_worker_with_6_and_burn_nothing(scene):
    scene.jobs(60)
    worker = scene.worker(program=["sh", "-c", "sleep 0.5; cat"], settings={"--processors": 2})
    until("a few jobs", lambda: len(scene.ops("PutObject")) >= 3, 30)
    scene.fault("status", "GetObject PutObject", status=400, code="ExpiredToken", text="The provided token has expired.")
    worker.expect(6, 40)
    done = len(scene.server.keys(scene.outputs))
    check(done + sum(scene.counts()) == 60, f"{done} done, {scene.counts()} left")
    scene.no_letters()


@scenario("F48")
def credentials_that_expire_for_the_queue_end_the_worker_with_6(scene):
    scene.jobs(4)
    scene.fault("status", "ReceiveMessage", skip=2, status=403, code="ExpiredTokenException", text="The security token included in the request is expired")
    worker = scene.worker()
    worker.expect(6, 30)


class Metadata(http.server.BaseHTTPRequestHandler):
    """The metadata service of a machine with a role, whose keys last for seconds."""

    server_version = "EC2ws"

    def do_PUT(self):
        self.answer("token", {"x-aws-ec2-metadata-token-ttl-seconds": "21600"})

    def do_GET(self):
        state = self.server.state
        if self.path.endswith("/security-credentials/"):
            return self.answer("role")
        state["asked"] += 1
        if state["asked"] in (3, 4):
            return self.send_error(500)
        if state["asked"] == 2:
            time.sleep(1.5)
        state["given"] += 1
        until_then = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 14))
        keys = {"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": f"AKIA{state['given']}", "SecretAccessKey": "secret",
                "Token": f"token{state['given']}", "Expiration": until_then, "LastUpdated": "2026-01-01T00:00:00Z"}
        return self.answer(json.dumps(keys))

    def answer(self, text, headers=()):
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(text.encode())
        except BrokenPipeError:
            # Whoever asked would not wait; that is what the slow answer is for.
            pass

    def log_message(self, *words):
        del words


@scenario("F49")
def keys_of_a_role_are_renewed_while_jobs_run(scene):
    scene.jobs(60)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as server:
        server.state = {"asked": 0, "given": 0}
        threading.Thread(target=server.serve_forever, daemon=True).start()
        names = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "AWS_EC2_METADATA_DISABLED": None,
                 "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}"}
        worker = scene.worker("--until-empty", environment=names, program=["sh", "-c", "sleep 0.8; cat"], settings={"--concurrency": 2, "--processors": 2})
        worker.expect(0, 90)
        server.shutdown()
    scene.whole()
    scene.no_letters()
    keys = {op.access for op in scene.ops("GetObject")}
    check(len(keys) >= 3, f"only these keys were used: {keys}")


@scenario("F50")
def a_clock_that_is_an_hour_wrong_is_corrected(scene):
    scene.jobs(4)
    from email.utils import formatdate

    later = formatdate(time.time() + 3600, usegmt=True)
    scene.fault("status", "GetObject", times=1, status=403, code="RequestTimeTooSkewed", headers=[("Date", later)])
    scene.finish()


@scenario("F51")
def no_right_to_delete_stops_the_worker(scene):
    scene.jobs(30)
    scene.fault("status", "DeleteMessageBatch", status=403, code="AccessDeniedException", text="not allowed")
    worker = scene.worker()
    worker.expect(4, 60)
    check(sum(scene.counts()) == 30, f"messages left: {scene.counts()}")
    scene.no_letters()


@scenario("F51")
def no_right_to_keep_leases_stops_the_worker(scene):
    scene.jobs(30, visibility=4)
    scene.fault("status", "ChangeMessageVisibilityBatch", status=403, code="AccessDeniedException", text="not allowed")
    worker = scene.worker(program=["sh", "-c", "sleep 6; cat"], settings={"--visibility-timeout": "4s"})
    worker.expect(4, 60)
    scene.no_letters()


# Load.


@scenario("F54")
def the_smallest_and_the_largest_settings_work(scene):
    scene.jobs(30, size=2000)
    scene.put("large", scene.chance.randbytes(3 * PART))
    scene.server.send(scene.queue, [scene.message("large")])
    worker = scene.worker("--until-empty", settings={"--concurrency": 1, "--memory": "16MiB"})
    worker.expect(0, 60)
    scene.whole()
    scene.server.send(scene.queue, [scene.message(key) for key in scene.objects])
    worker = scene.worker("--until-empty", name="many", settings={"--concurrency": 2000, "--memory": "256MiB"})
    worker.expect(0, 60)
    scene.whole()


@scenario("F52")
def one_large_object_holds_up_no_small_ones_and_fits_the_budget(scene):
    scene.jobs(0)
    scene.put("large", scene.chance.randbytes(120 << 20))
    for number in range(200):
        scene.put(f"k{number}", scene.chance.randbytes(1000))
    scene.server.send(scene.queue, [scene.message(key) for key in scene.objects])
    worker = scene.worker("--until-empty", settings={"--memory": "64MiB"})
    peak = 0
    while worker.ended() is None and time.monotonic() - worker.begun < 300:
        peak = worker.look()
        time.sleep(0.05)
    worker.expect(0, 5)
    scene.whole()
    begun = next(op.begun for op in scene.ops("CreateMultipartUpload"))
    large = next(op.ended for op in scene.ops("CompleteMultipartUpload"))
    small = [begun] + sorted(op.ended for op in scene.ops("PutObject") if begun < op.ended < large) + [large]
    stall = max(after - before for before, after in zip(small, small[1:]))
    # A machine that takes long for the large one takes long for the small ones.
    check(len(small) == 202 or stall < max(2.0, (large - begun) / 4), f"{len(small) - 2} small ones in the {large - begun:.1f} s of the large one, none for {stall:.1f} s")
    check(peak < (64 + 96) * 1024, f"peak memory {peak >> 10} MiB with a budget of 64 MiB")
    return {"peak_mib": peak >> 10}


@scenario("F53", alone=True)
def empty_jobs_without_end_leave_nothing_in_memory(scene):
    """Few enough for every change in the short form; what would leak with each job shows all the same."""
    total = scene.lab.settings["empty"]
    scene.server.make_queue(scene.queue, receives=5, visibility=60)
    scene.put("empty", b"")
    # Past the proxy, which would be slower than anything here.
    worker = scene.worker(environment={"AWS_ENDPOINT_URL": f"http://127.0.0.1:{scene.server.port}"},
                          settings={"--concurrency": 32, "--visibility-timeout": "60s", "--memory": "256MiB"})
    sizes, sent = [], 0
    while sent < total or sum(scene.counts()):
        check(worker.ended() is None, f"it ended: {worker.words()[-300:]}")
        if sent < total and scene.counts()[0] < 300:
            scene.server.send(scene.queue, [scene.message("empty")] * 300)
            sent += 300
        sizes.append(worker.resident())
        time.sleep(0.02)
    worker.signal(signal.SIGTERM)
    worker.expect(0, 30)
    scene.whole()
    scene.no_letters()
    # The first third is for what is made once: connections, threads, buffers, the allocator's own.
    warm = max(sizes[: len(sizes) // 3])
    grown = max(0, max(sizes) - warm)
    # 100 bytes kept for each job, or half a mebibyte of noise.
    check(grown * 1024 < max(4 << 20, 100 * total), f"memory grew by {grown} KiB in the last two thirds of {total} empty jobs")
    return {"empty_jobs": total, "empty_growth_kib": grown}


@scenario("F56", alone=True)
def two_workers_of_which_one_is_killed_again_and_again_lose_nothing(scene):
    """An hour with a kill every 20 s in the long form, a minute with one every 5 s in the short one."""
    seconds, every = scene.lab.settings["soak"]
    scene.jobs(60, size=3000, receives=1000)
    bodies = {key: scene.message(key) for key in scene.objects}
    settings = {"--visibility-timeout": "6s"}
    pair = [scene.worker(name=f"p{slot}-0", program=["sh", "-c", "sleep 0.1; cat"], settings=settings) for slot in range(2)]
    begun, kills, sent, written = time.monotonic(), 0, len(bodies), {}

    def note(**how):
        """The log of an hour is read as it comes."""
        for op in scene.proxy.log.take(scene.name, **how):
            if op.kind == "PutObject":
                written.setdefault(op.key, set()).add(op.md5)

    while time.monotonic() - begun < seconds:
        if time.monotonic() - begun > (kills + 1) * every:
            slot, kills = kills % 2, kills + 1
            pair[slot].kill()
            pair[slot] = scene.worker(name=f"p{slot}-{kills}", program=["sh", "-c", "sleep 0.1; cat"], settings=settings)
        for worker in pair:
            check(worker.ended() is None, f"it ended by itself: {worker.words()[-300:]}")
        if scene.counts()[0] < 30:
            scene.server.send(scene.queue, scene.chance.sample(sorted(bodies.values()), 30))
            sent += 30
        note()
        time.sleep(0.2)
    scene.drained(120)
    for worker in pair:
        worker.signal(signal.SIGTERM)
        worker.expect(0, 30)
    scene.whole()
    scene.no_letters()
    note(to_the_end=True)
    check(len(written) == len(bodies), f"{len(written)} outputs were seen")
    torn = [key for key, sums in written.items() if len(sums) > 1]
    check(not torn, f"written with different bytes: {torn[:3]}")
    return {"soak_seconds": seconds, "soak_kills": kills, "soak_jobs": sent}


@scenario("F55")
def a_thousand_idle_clients_of_the_metrics_hold_up_nothing(scene):
    scene.jobs(60)
    worker = scene.worker(settings={"--metrics-addr": "127.0.0.1:0", "--progress": "lines"}, program=["sh", "-c", "sleep 0.2; cat"])

    number = until("a listener", lambda: listening(worker.pid), 20)
    clients = []
    try:
        for _ in range(1000):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", number))
            clients.append(client)
        loud = socket.create_connection(("127.0.0.1", number), 5)
        clients.append(loud)
        try:
            loud.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * (1 << 20))
        except OSError:
            pass
        scene.drained(60)
        worker.signal(signal.SIGTERM)
        worker.expect(0, 20)
    finally:
        for client in clients:
            client.close()
    scene.whole()


def listening(pid):
    """The port on which a process listens."""
    inodes = set()
    try:
        for number in os.listdir(f"/proc/{pid}/fd"):
            target = os.readlink(f"/proc/{pid}/fd/{number}")
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    except OSError:
        return None
    with open("/proc/net/tcp") as table:
        for line in table.readlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                return int(words[1].split(":")[1], 16)
    return None
