"""What the scenarios stand on: a real server on the loopback, its control, and workers as processes of their own.

The server is ministack (tests/lab), without network. Control calls go to it directly, past the proxy, so that neither
faults nor the log see them. Workers are the real program, in a process group of their own each, ended by their ids.
"""

import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import xml.etree.ElementTree
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ACCOUNT = "000000000000"
REGION = "us-east-1"
START_LIMIT = 60.0
# Limits say how long something takes here at the most; a machine that does more beside gets three times as long. What
# must be quick is measured and checked by itself.
PATIENCE = 3


class Failed(Exception):
    """A check that does not hold."""


class Skipped(Exception):
    """A check that this machine can't make: never a pass."""


def check(holds, text):
    if not holds:
        raise Failed(text)


def until(what, holds, limit, pause=0.05):
    """Waits until `holds()`; fails when that takes far more than `limit` seconds, saying what did not come."""
    limit *= PATIENCE
    end = time.monotonic() + limit
    while True:
        value = holds()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"not within {limit:g} s: {what}")
        time.sleep(pause)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """ministack on a free port, ended with us."""

    def __init__(self, folder):
        lab = Path(os.environ.get("BATCHPIPE_LAB", ROOT / "target" / "lab"))
        subprocess.run([str(ROOT / "tests/lab/setup.sh"), "ministack"], check=True, stdout=subprocess.DEVNULL)
        self.port = free_port()
        environment = {**os.environ, "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(self.port)}
        self.out = open(folder / "ministack.log", "wb")
        self.child = subprocess.Popen(
            [str(lab / "ministack/bin/ministack")], env=environment, stdin=subprocess.DEVNULL, stdout=self.out,
            stderr=self.out, cwd=folder,
        )
        self.local = threading.local()
        until("ministack answers", self._alive, START_LIMIT)

    def _alive(self):
        check(self.child.poll() is None, "ministack ended by itself")
        try:
            return self._http("GET", "/_ministack/health")[0] == 200
        except OSError:
            return False

    def stop(self):
        self.child.terminate()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.out.close()

    def _http(self, method, path, body=b"", headers=None):
        for attempt in (1, 2):
            connection = getattr(self.local, "connection", None)
            if connection is None:
                connection = self.local.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            try:
                connection.request(method, path, body, headers or {})
                answer = connection.getresponse()
                return answer.status, answer.read(), answer.headers
            except (OSError, http.client.HTTPException):
                connection.close()
                self.local.connection = None
                if attempt == 2:
                    raise
        raise OSError("unreachable")

    # Queues.

    def _sqs(self, action, **asked):
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"AmazonSQS.{action}",
            "Authorization": f"AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/sqs/aws4_request, SignedHeaders=host, Signature=x",
        }
        status, body, _ = self._http("POST", "/", json.dumps(asked).encode(), headers)
        check(status == 200, f"{action} answered {status}: {body[:300]!r}")
        return json.loads(body or b"{}")

    def queue_url(self, name):
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}/{name}"

    def make_queue(self, name, *, receives=None, visibility=30):
        """A queue, with dead letters in NAME-dlq if `receives` says after how many receives. A FIFO queue has none here."""
        attributes = {"VisibilityTimeout": str(visibility)}
        if name.endswith(".fifo"):
            attributes["FifoQueue"] = "true"
        if receives is not None:
            self._sqs("CreateQueue", QueueName=f"{name}-dlq")
            arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}-dlq"
            attributes["RedrivePolicy"] = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": receives})
        self._sqs("CreateQueue", QueueName=name, Attributes=attributes)
        return name

    def delete_queue(self, name):
        self._sqs("DeleteQueue", QueueUrl=self.queue_url(name))

    def counts(self, name):
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"]
        found = self._sqs("GetQueueAttributes", QueueUrl=self.queue_url(name), AttributeNames=names)["Attributes"]
        return tuple(int(found[one]) for one in names)

    def send(self, name, bodies, group=None):
        for start in range(0, len(bodies), 10):
            entries = [{"Id": str(place), "MessageBody": body} for place, body in enumerate(bodies[start : start + 10])]
            if group is not None:
                for place, entry in enumerate(entries):
                    entry.update(MessageGroupId=group, MessageDeduplicationId=f"{group}-{start + place}")
            told = self._sqs("SendMessageBatch", QueueUrl=self.queue_url(name), Entries=entries)
            check(not told.get("Failed"), f"not sent: {told.get('Failed')}")

    def take_all(self, name):
        """Every message there is, taken out."""
        found = []
        while True:
            told = self._sqs(
                "ReceiveMessage", QueueUrl=self.queue_url(name), MaxNumberOfMessages=10, VisibilityTimeout=600,
                WaitTimeSeconds=0, AttributeNames=["All"], MessageAttributeNames=["All"],
            )
            batch = told.get("Messages") or []
            if not batch:
                return found
            found += batch

    # Objects.

    def _s3(self, method, path, body=b"", query="", headers=None):
        headers = dict(headers or {})
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/s3/aws4_request, SignedHeaders=host, Signature=x"
        )
        target = "/" + urllib.parse.quote(path) + (f"?{query}" if query else "")
        return self._http(method, target, body, headers)

    def make_bucket(self, name):
        status, body, _ = self._s3("PUT", name)
        check(status in (200, 409), f"bucket {name}: {status} {body[:200]!r}")
        return name

    def put(self, path, body):
        status, told, _ = self._s3("PUT", path, body)
        check(status == 200, f"put {path}: {status} {told[:200]!r}")

    def get(self, path):
        status, body, _ = self._s3("GET", path)
        return body if status == 200 else None

    def delete(self, path):
        self._s3("DELETE", path)

    def keys(self, bucket, prefix=""):
        """Every key under the prefix, with its size."""
        found, after = {}, ""
        while True:
            query = urllib.parse.urlencode({"list-type": 2, "prefix": prefix, "max-keys": 1000, **({"start-after": after} if after else {})})
            status, body, _ = self._s3("GET", bucket, query=query)
            check(status == 200, f"list {bucket}: {status}")
            page = [
                (_text(item, "Key"), int(_text(item, "Size"))) for item in _parse(body).iter() if _name(item) == "Contents"
            ]
            found.update(page)
            if len(page) < 1000:
                return found
            after = page[-1][0]

    def unfinished(self, bucket):
        """The keys of uploads in parts that nobody has completed or aborted."""
        status, body, _ = self._s3("GET", bucket, query="uploads")
        check(status == 200, f"list uploads of {bucket}: {status}")
        return [_text(item, "Key") for item in _parse(body).iter() if _name(item) == "Upload"]


def _parse(body):
    return xml.etree.ElementTree.fromstring(body)


def _name(element):
    return element.tag.rsplit("}", 1)[-1]


def _text(element, name):
    return next((child.text or "" for child in element if _name(child) == name), "")


class Worker:
    """A batchpipe process."""

    def __init__(self, lab, name, arguments, *, crash=None, environment=None, limits=None, wrapper=(), through=None):
        self.name, self.crash, self.begun = name, crash, time.monotonic()
        self.peak = 0
        self.log = lab.folder / f"{name}-{lab.next()}.log"
        self.out = open(self.log, "wb")
        variables = {
            name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BATCHPIPE_", "NO_COLOR"))
        }
        variables.update(lab.aws(through or name))
        if crash:
            variables["BATCHPIPE_CRASH_AT"] = crash
        variables.update(environment or {})
        variables = {variable: value for variable, value in variables.items() if value is not None}
        self.child = subprocess.Popen(
            [*wrapper, str(lab.binary), *arguments], env=variables, stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.out,
            cwd=lab.folder, start_new_session=True, preexec_fn=limits,
        )

    @property
    def pid(self):
        return self.child.pid

    def signal(self, number):
        if self.child.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.wait(30)

    def ended(self):
        return self.child.poll()

    def wait(self, limit):
        """Its exit status; negative if a signal ended it."""
        limit *= PATIENCE
        try:
            code = self.child.wait(limit)
        except subprocess.TimeoutExpired:
            words = self.words()[-600:]
            self.signal(signal.SIGKILL)
            self.child.wait()
            raise Failed(f"{self.name} did not end within {limit:g} s; it said: {words}") from None
        self.out.close()
        return code

    def look(self):
        """Notes the most memory it has ever had, in KiB."""
        try:
            with open(f"/proc/{self.pid}/status") as status:
                for line in status:
                    if line.startswith("VmHWM:"):
                        self.peak = max(self.peak, int(line.split()[1]))
        except OSError:
            pass
        return self.peak

    def resident(self):
        """The memory it has now, in KiB."""
        with open(f"/proc/{self.pid}/statm") as statm:
            return int(statm.read().split()[1]) * (resource.getpagesize() // 1024)

    def words(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def expect(self, code, limit):
        got = self.wait(limit)
        check(got == code, f"{self.name} ended with {got}, not {code}; it said: {self.words()[-900:]}")
        return self


class Lab:
    """The server, the proxy and a folder, for all scenarios."""

    def __init__(self, folder, binary, seed, settings):
        from proxy import Proxy

        self.folder, self.binary, self.seed, self.settings = folder, binary, seed, settings
        self.counter, self.counting = 0, threading.Lock()
        self.workers = []
        self.figures = {}
        self.server = Server(folder)
        self.proxy = Proxy(self.server.port, seed)

    def next(self):
        with self.counting:
            self.counter += 1
            return self.counter

    def aws(self, worker):
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": self.proxy.url(worker),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder / "tmp"),
        }

    def start(self, name, arguments, **how):
        worker = Worker(self, name, [str(argument) for argument in arguments], **how)
        self.workers.append(worker)
        return worker

    def run(self, name, queue, *arguments, program=(), settings=None, **how):
        """A worker on a queue; `settings` replaces the usual ones."""
        usual = {"--concurrency": 8, "--memory": "256MiB", "--part-size": "5MiB", "--visibility-timeout": "6s", "--wait-time": "1s",
                 "--metrics-addr": "none", "--progress": "none", "--drain-timeout": "30s", "--work-dir": self.folder / "work"}
        usual.update(settings or {})
        flags = [word for pair in usual.items() if pair[1] is not None for word in pair]
        if not program and "--process" not in arguments:
            flags += ["--process", "copy"]
        return self.start(name, ["run", "--queue", queue, *flags, *arguments, *(["--", *program] if program else [])], **how)

    def stop_workers(self):
        for worker in self.workers:
            if worker.ended() is None:
                worker.signal(signal.SIGCONT)
                worker.signal(signal.SIGKILL)
                worker.child.wait()
        self.workers = []

    def close(self):
        self.stop_workers()
        self.server.stop()


def say(text):
    print(text, flush=True)


def machine():
    """What kind of machine this is, without its name."""
    with open("/proc/meminfo") as memory:
        total = int(memory.readline().split()[1])
    return f"{os.cpu_count()} cores, {total / (1 << 20):.0f} GiB"


if __name__ == "__main__":
    sys.exit("this is a part of tests/proof/run")
