"""A proxy between a worker and a server that speaks S3 and SQS: it writes down all that passes, and breaks it on demand.

Every request gets a place in one log (`oplog.py`), with the number at which it was whole and the number at which its answer had been
handed over. That order is what the proof reads: a delete must come after the answer to the write it stands on. Each
worker has a port of its own, so that the log knows who asked.

What is to go wrong is said by rules. A rule names kinds of requests, perhaps a worker or a part of a key, and how often
it acts: a number of times, a share of the requests (seeded), or until a moment.

One thread with an event loop; requests are held whole in memory (a part has a few MiB). Only the loopback is listened on.
"""

import asyncio
import base64
import hashlib
import json
import random
import re
import socket
import struct
import threading
import time
import urllib.parse
import zlib

from oplog import Log

HEAD_LIMIT = 1 << 17
# What is done while the body of a request is still to come.
BEFORE_BODY = ("slow-read", "early")
# The longest that a silent answer keeps a connection: longer than any deadline of a client.
SILENCE_LIMIT = 120.0


class Op:
    """One request and what became of it."""

    __slots__ = (
        "number", "over", "worker", "kind", "key", "asked", "answered", "begun", "ended", "status", "served", "delivered", "fault", "md5",
        "part", "upload", "messages", "handles", "timeout", "bodies", "good", "queue", "size", "visibility",
        "range", "access",
    )

    def __init__(self, worker, kind, key):
        self.worker, self.kind, self.key = worker, kind, key
        # Its place in the log; nothing of it changes any more.
        self.number, self.over = 0, False
        self.asked = self.answered = 0
        self.begun = self.ended = 0.0
        # What the client was told, and what the server did.
        self.status = self.served = 0
        self.delivered = False
        self.fault = self.md5 = self.part = self.upload = self.queue = self.visibility = self.range = self.access = None
        self.messages, self.handles, self.timeout, self.bodies, self.good = [], [], [], [], []
        self.size = 0


class Rule:
    """What goes wrong, with which requests, how often."""

    def __init__(self, action, kinds=None, *, worker=None, key=None, share=1.0, times=None, skip=0, seconds=None, **how):
        self.action, self.how = action, how
        self.kinds = None if kinds is None else set(kinds.split()) if isinstance(kinds, str) else set(kinds)
        self.worker, self.key, self.share, self.times, self.skip = worker, key, share, times, skip
        self.until = None if seconds is None else time.monotonic() + seconds
        self.acted = 0

    def takes(self, op, chance):
        if self.kinds is not None and op.kind not in self.kinds:
            return False
        if self.worker is not None and not op.worker.startswith(self.worker):
            return False
        if self.key is not None and self.key not in op.key:
            return False
        if self.until is not None and time.monotonic() > self.until:
            return False
        if self.times is not None and self.acted >= self.times:
            return False
        if self.share < 1.0 and chance.random() >= self.share:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.acted += 1
        return True


class Message:
    """A request or an answer in the form of HTTP/1.1."""

    def __init__(self, start, headers, body=b""):
        self.start, self.headers, self.body = start, headers, body

    def header(self, name):
        name = name.lower()
        return next((value for key, value in self.headers if key.lower() == name), None)

    def without(self, *names):
        return [(key, value) for key, value in self.headers if key.lower() not in names]

    def encode(self, body=None, length=None):
        body = self.body if body is None else body
        headers = self.without("content-length", "transfer-encoding", "connection")
        headers.append(("Content-Length", str(len(body) if length is None else length)))
        return head(self.start, headers) + body


def head(start, headers):
    return (start + "\r\n" + "".join(f"{key}: {value}\r\n" for key, value in headers) + "\r\n").encode("latin-1")


async def read_message(reader, *, bodyless=False, before_body=None):
    """Reads a message; `None` if the other side has hung up between two."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as gone:
        if gone.partial:
            raise ConnectionError("hung up inside a head") from gone
        return None
    lines = raw.decode("latin-1").split("\r\n")
    headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:] if line]
    message = Message(lines[0], headers)
    if before_body:
        await before_body(message)
    if bodyless:
        return message
    if "chunked" in (message.header("transfer-encoding") or ""):
        pieces = []
        while size := int((await reader.readline()).split(b";")[0], 16):
            pieces.append(await reader.readexactly(size))
            await reader.readexactly(2)
        while (await reader.readline()).strip():
            pass
        message.body = b"".join(pieces)
    elif length := message.header("content-length"):
        message.body = await reader.readexactly(int(length))
    return message


def classify(worker, request):
    """The operation that a request is, as far as the proof needs to know it."""
    method, target, _ = request.start.split(" ", 2)
    called = request.header("x-amz-target")
    if called:
        op = Op(worker, called.rsplit(".", 1)[-1], "")
        try:
            asked = json.loads(request.body or b"{}")
        except ValueError:
            asked = {}
        op.queue = op.key = (asked.get("QueueUrl") or "").rsplit("/", 1)[-1]
        entries = asked.get("Entries") or ([asked] if "ReceiptHandle" in asked or "MessageBody" in asked else [])
        op.handles = [entry["ReceiptHandle"] for entry in entries if "ReceiptHandle" in entry]
        op.timeout = [entry.get("VisibilityTimeout") for entry in entries]
        op.bodies = [entry["MessageBody"] for entry in entries if "MessageBody" in entry]
        op.visibility = asked.get("VisibilityTimeout")
        return op
    path, _, query = target.partition("?")
    asked = urllib.parse.parse_qs(query, keep_blank_values=True)
    bucket, _, key = path.lstrip("/").partition("/")
    key = urllib.parse.unquote(key)
    if "uploadId" in asked:
        kind = {"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload", "GET": "ListParts"}
        op = Op(worker, kind.get(method, method), f"{bucket}/{key}")
        op.upload = asked["uploadId"][0]
        op.part = asked.get("partNumber", [None])[0]
    elif "uploads" in asked:
        op = Op(worker, "CreateMultipartUpload" if method == "POST" else "ListMultipartUploads", f"{bucket}/{key}")
    elif not key:
        op = Op(worker, {"GET": "ListObjects", "HEAD": "HeadBucket"}.get(method, method + "Bucket"), bucket)
    else:
        kind = {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}
        op = Op(worker, kind.get(method, method), f"{bucket}/{key}")
    op.range = request.header("range")
    found = re.search(r"Credential=([^/]+)/", request.header("authorization") or "")
    op.access = found and found.group(1)
    if op.kind in ("PutObject", "UploadPart"):
        op.md5 = hashlib.md5(request.body).hexdigest()
    op.size = len(request.body)
    return op


class Proxy:
    """Passes requests on to the server at `upstream`."""

    def __init__(self, upstream, seed):
        self.upstream = upstream
        self.chance = random.Random(seed)
        self.rules = []
        self.etags = {}
        self.changing = threading.Lock()
        self.frozen = set()
        self.log = Log()
        self.number = 0
        self.faults = {}
        self.ports = {}
        self.servers = {}
        self.writers = {}
        # Messages handed out, by queue.
        self.seen = {}
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="proxy", daemon=True)
        self.thread.start()

    # What the scenarios call, from their own thread.

    def call(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def url(self, worker):
        """Where a worker of this name finds its server."""
        if worker not in self.ports:
            self.call(self._listen(worker, 0))
        return f"http://127.0.0.1:{self.ports[worker]}"

    def rule(self, *arguments, **named):
        rule = Rule(*arguments, **named)
        with self.changing:
            self.rules = self.rules + [rule]
        return rule

    def forget(self, worker="", queue=None):
        """Workers whose name begins like that have ended: no more is kept of them, no fault and no port."""
        with self.changing:
            self.rules = [rule for rule in self.rules if not (rule.worker or "").startswith(worker)]
        for name in [name for name in self.ports if name.startswith(worker)]:
            if name in self.servers:
                self.down(name)
            del self.ports[name]
        self.log.drop(worker)
        self.seen.pop(queue, None)

    def calm(self):
        """No faults from now on."""
        self.rules = []

    def down(self, worker):
        """Nobody listens any more; what is open is reset."""
        self.call(self._down(worker))

    def up(self, worker):
        self.call(self._listen(worker, self.ports[worker]))

    def freeze(self, worker):
        """What is connected now is never answered again, and not told so: a router has forgotten it."""
        self.frozen |= set(self.writers.get(worker, ()))

    def worked(self, worker):
        """Whether a worker has got as far as taking messages."""
        return worker in self.log.receivers

    # The event loop's side.

    async def _listen(self, worker, port):
        server = await asyncio.start_server(
            lambda reader, writer: self._serve(worker, reader, writer), "127.0.0.1", port, limit=HEAD_LIMIT, backlog=512
        )
        self.servers[worker] = server
        self.ports[worker] = server.sockets[0].getsockname()[1]

    async def _down(self, worker):
        self.servers.pop(worker).close()
        for writer in list(self.writers.get(worker, ())):
            reset(writer)

    def _next(self):
        self.number += 1
        return self.number

    async def _serve(self, worker, reader, writer):
        upstream = [None, None]
        self.writers.setdefault(worker, set()).add(writer)
        try:
            while await self._exchange(worker, reader, writer, upstream):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass
        finally:
            self.writers[worker].discard(writer)
            self.frozen.discard(writer)
            for one in (writer, upstream[1]):
                if one is not None:
                    one.close()

    async def _exchange(self, worker, reader, writer, upstream):
        async def before_body(request):
            if (request.header("expect") or "").lower() == "100-continue":
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            length = int(request.header("content-length") or 0)
            for rule in self.rules:
                if rule.action not in BEFORE_BODY or length < rule.how["least"] or not rule.takes(Op(worker, "", ""), self.chance):
                    continue
                self._count(rule.action)
                if rule.action == "slow-read":
                    await asyncio.sleep(rule.how["pause"])
                else:
                    writer.write(failure(Op(worker, "", "")).encode())
                    await writer.drain()
                    raise ConnectionError("answered before the body was read")

        request = await read_message(reader, before_body=before_body)
        if request is None:
            return False
        op = classify(worker, request)
        op.asked, op.begun = self._next(), time.monotonic()
        self.log.add(op)
        try:
            return await self._carry_out(op, request, reader, writer, upstream)
        finally:
            op.over = True

    async def _carry_out(self, op, request, reader, writer, upstream):
        rule = await self._fault(op)
        action = rule.action if rule else "silence" if writer in self.frozen else None
        op.fault = action

        if action == "reset":
            reset(writer)
            return False
        if action == "silence":
            await hold(reader)
            return False
        if action == "status":
            answer = failure(op, **rule.how)
        elif action == "empty":
            answer = Message("HTTP/1.1 200 OK", [("Content-Type", "application/x-amz-json-1.0")], b"{}")
        elif action == "lie":
            # Success is told, and nothing was done.
            answer = Message("HTTP/1.1 200 OK", [("Content-Type", "application/xml")], self.chance.choice(LIES))
        else:
            if action == "flip-up" and request.body:
                request.body = flip(request.body, self.chance)
            kept = None
            if action == "partial":
                request, kept = withhold(request, rule.how.get("share", 0.5), self.chance)
            if action == "partial" and not json.loads(request.body)["Entries"]:
                answer = Message("HTTP/1.1 200 OK", [("Content-Type", "application/x-amz-json-1.0")], b"{}")
            else:
                if op.kind == "CompleteMultipartUpload":
                    # The server knows its parts by the names it gave them.
                    for veil, etag in self.etags.items():
                        request.body = request.body.replace(veil, etag)
                answer = await self._forward(request, upstream)
            op.served = int(answer.start.split(" ")[1])
            if kept is not None:
                put_back(answer, kept, rule.how)
            if action == "bad-md5":
                spoil_md5(answer, self.chance)
            if action == "duplicate":
                self._duplicate(op, answer)
            if action == "mute" and op.served == 200:
                # All was done, and the answer does not say what.
                answer.headers = answer.without("etag")
                answer.body = answer.body[: self.chance.randrange(len(answer.body) // 2)] if answer.body else b""
            if action == "error-in-200":
                answer.body = b'<?xml version="1.0"?><Error><Code>InternalError</Code><Message>We failed</Message></Error>'
        return await self._answer(op, request, answer, action, rule, reader, writer)

    async def _fault(self, op):
        for rule in self.rules:
            if rule.action not in BEFORE_BODY and rule.takes(op, self.chance):
                self._count(rule.action)
                if rule.action == "latency":
                    await asyncio.sleep(rule.how["pause"] * (self.chance.random() if rule.how.get("jitter") else 1))
                    continue
                return rule
        return None

    def _veil(self, etag):
        veil = self.chance.randbytes(18).hex()
        self.etags[veil.encode()] = etag.strip('"').encode()
        return f'"{veil}"'

    def _count(self, action):
        self.faults[action] = self.faults.get(action, 0) + 1

    async def _forward(self, request, upstream):
        bodyless = request.start.startswith("HEAD ")
        for attempt in (1, 2):
            if upstream[1] is None:
                upstream[:] = await asyncio.open_connection("127.0.0.1", self.upstream, limit=HEAD_LIMIT)
            try:
                headers = request.without("expect", "transfer-encoding", "content-length", "connection")
                if request.body or not bodyless:
                    headers.append(("Content-Length", str(len(request.body))))
                upstream[1].write(head(request.start, headers) + request.body)
                await upstream[1].drain()
                answer = await read_message(upstream[0], bodyless=bodyless)
                if answer is None:
                    raise ConnectionError("the server hung up")
                if (answer.header("connection") or "").lower() == "close":
                    upstream[1].close()
                    upstream[:] = [None, None]
                return answer
            except (ConnectionError, asyncio.IncompleteReadError):
                if upstream[1] is not None:
                    upstream[1].close()
                upstream[:] = [None, None]
                if attempt == 2:
                    raise
        raise ConnectionError("unreachable")

    async def _answer(self, op, request, answer, action, rule, reader, writer):
        op.status = int(answer.start.split(" ")[1])
        self._note(op, answer)
        if rule and rule.how.get("sum"):
            total = zlib.crc32(answer.body).to_bytes(4, "big")
            answer.headers.append(("x-amz-checksum-crc32", base64.b64encode(total).decode()))
        if action == "etag":
            # What a bucket with keys of the key service answers: no MD5 of anything.
            answer.headers = [(key, self._veil(value) if key.lower() == "etag" else value) for key, value in answer.headers]
        whole = answer.encode()
        if request.start.startswith("HEAD "):
            whole = head(answer.start, answer.without("connection", "transfer-encoding"))
        body = len(answer.body)
        at = len(whole) - body
        if action == "reset-after":
            reset(writer)
            return False
        if action == "silence-after":
            await hold(reader)
            return False
        if action in ("truncate", "reset-body", "stall-body") and body > 1:
            writer.write(whole[: at + int(body * rule.how.get("share_sent", 0.5))])
            await writer.drain()
            if action == "reset-body":
                # What was written is given a moment: a reset throws away what is not read yet.
                await asyncio.sleep(0.02)
                reset(writer)
            elif action == "stall-body":
                await hold(reader)
            return False
        if action == "drip" and body > 1:
            writer.write(whole[:at])
            for start in range(at, len(whole), rule.how["bytes"]):
                writer.write(whole[start : start + rule.how["bytes"]])
                await writer.drain()
                await asyncio.sleep(rule.how["pause"])
        elif action == "flip" and body and (rule.how.get("blindly") or checked(answer)):
            writer.write(whole[:at] + flip(whole[at:], self.chance))
            op.fault = "flipped"
        else:
            writer.write(whole)
        await writer.drain()
        op.delivered = op.fault != "flipped"
        op.answered, op.ended = self._next(), time.monotonic()
        return (request.header("connection") or "").lower() != "close"

    def _note(self, op, answer):
        """What the answer tells, for the log."""
        if op.kind == "CreateMultipartUpload" and op.status == 200:
            found = re.search(rb"<UploadId>([^<]+)</UploadId>", answer.body)
            op.upload = found and found.group(1).decode()
        if not op.kind.endswith(("Message", "MessageBatch", "VisibilityBatch")):
            return
        try:
            told = json.loads(answer.body or b"{}")
        except ValueError:
            return
        if op.kind == "ReceiveMessage":
            op.messages = [(m["MessageId"], m["ReceiptHandle"], m["Body"]) for m in told.get("Messages") or []]
            # A spoiled one that came again would look like a true one.
            if op.fault != "bad-md5":
                self.seen[op.queue] = (self.seen.get(op.queue, []) + (told.get("Messages") or []))[-200:]
        op.good = [int(entry["Id"]) for entry in told.get("Successful") or [] if entry.get("Id", "").isdigit()]

    def _duplicate(self, op, answer):
        """The same messages twice in one answer, or one that was handed out before."""
        told = json.loads(answer.body or b"{}")
        there = told.get("Messages") or []
        if there and len(there) < 10:
            told["Messages"] = there + [dict(self.chance.choice(there))]
        elif not there and self.seen.get(op.queue):
            told["Messages"] = [dict(self.chance.choice(self.seen[op.queue]))]
        answer.body = json.dumps(told).encode()


def reset(writer):
    """Ends a connection with RST, not FIN."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        try:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
    writer.transport.abort()


async def hold(reader):
    """Says nothing until the client gives up."""
    try:
        await asyncio.wait_for(reader.read(1), SILENCE_LIMIT)
    except asyncio.TimeoutError:
        pass


def checked(answer):
    """Whether the answer says what its bytes add up to: nobody could see a change of others."""
    return any(key.lower().startswith("x-amz-checksum-") and key.lower() != "x-amz-checksum-type" for key, _ in answer.headers)


def flip(body, chance):
    at = chance.randrange(len(body))
    return body[:at] + bytes([body[at] ^ (1 << chance.randrange(8))]) + body[at + 1 :]


# What stands in a success that proves nothing: nothing, a page of somebody else, and an answer that was cut or lacks its ETag.
LIES = [b"", b"<html><body>sign in</body></html>", b'<?xml version="1.0"?><CompleteMultipartUploadResult><Loc',
        b"<CompleteMultipartUploadResult><Location>l</Location></CompleteMultipartUploadResult>"]

STATUS_WORDS = {400: "Bad Request", 403: "Forbidden", 404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error",
                502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout"}


def failure(op, status=503, code="SlowDown", text="told to", headers=()):
    """An answer as the service of the request would make it."""
    start = f"HTTP/1.1 {status} {STATUS_WORDS.get(status, 'Error')}"
    if op.queue is not None:
        body = json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": text}).encode()
        return Message(start, [("Content-Type", "application/x-amz-json-1.0"), *headers], body)
    body = f"<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{text}</Message></Error>".encode()
    return Message(start, [("Content-Type", "application/xml"), *headers], b"" if op.kind.startswith("Head") else body)


def withhold(request, share, chance):
    """Takes some entries out of a batch call; the server never hears of them."""
    asked = json.loads(request.body)
    entries = asked.get("Entries") or []
    kept = [entry for entry in entries if chance.random() < share]
    ids = {entry["Id"] for entry in kept}
    asked["Entries"] = [entry for entry in entries if entry["Id"] not in ids]
    return Message(request.start, request.headers, json.dumps(asked).encode()), sorted(ids)


def put_back(answer, ids, how):
    told = json.loads(answer.body or b"{}")
    failed = [{"Id": one, "SenderFault": how.get("sender", False), "Code": how.get("code", "InternalError"), "Message": "told to"}
              for one in ids]
    if failed:
        told["Failed"] = (told.get("Failed") or []) + failed
    answer.body = json.dumps(told).encode()


def spoil_md5(answer, chance):
    told = json.loads(answer.body or b"{}")
    for message in told.get("Messages") or []:
        message["Body"] = message["Body"].replace("s3://", "s3:/") if chance.random() < 0.5 else message["Body"][:-1]
    answer.body = json.dumps(told).encode()
