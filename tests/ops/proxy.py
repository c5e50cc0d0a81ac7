"""A proxy that passes every request on and notes which IAM action on which resource it needs.

The mapping follows the "actions defined by" pages of the service authorization reference for SQS and
S3: batch calls need the plain action, all of a multipart upload but its abort needs s3:PutObject, and a
read that names a version needs s3:GetObjectVersion.
"""

import http.client
import http.server
import json
import threading
from contextlib import contextmanager
from urllib.parse import parse_qs, unquote, urlsplit

HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-authorization", "expect"}
ACCOUNT = "eu-west-1:123456789012"


def sqs_call(operation, body):
    values = json.loads(body or b"{}")
    name = values.get("QueueName") or values.get("QueueUrl", "").rstrip("/").rsplit("/", 1)[-1] or "*"
    return f"sqs:{operation.removesuffix('Batch')}", f"arn:aws:sqs:{ACCOUNT}:{name}", {}


def s3_call(method, path, query):
    bucket, _, key = unquote(path).lstrip("/").partition("/")
    query = parse_qs(query, keep_blank_values=True)
    if not bucket:
        return "s3:ListAllMyBuckets", "*", {}
    if not key:
        context = {"s3:prefix": query["prefix"][0]} if query.get("prefix") else {}
        action = "s3:ListBucketMultipartUploads" if "uploads" in query else "s3:ListBucket"
        return (action, f"arn:aws:s3:::{bucket}", context) if method in ("GET", "HEAD") else (f"s3:({method} bucket)", f"arn:aws:s3:::{bucket}", {})
    upload = "uploadId" in query
    action = {
        "GET": "s3:ListMultipartUploadParts" if upload else "s3:GetObject",
        "HEAD": "s3:GetObject",
        "PUT": "s3:PutObject",
        "POST": "s3:PutObject",
        "DELETE": "s3:AbortMultipartUpload" if upload else "s3:DeleteObject",
    }[method]
    if action == "s3:GetObject" and "versionId" in query:
        action = "s3:GetObjectVersion"
    return action, f"arn:aws:s3:::{bucket}/{key}", {}


@contextmanager
def proxy(upstream):
    """Serves on a free port of loopback; gives (url, calls). A call is (action, resource, context, status)."""
    host = urlsplit(upstream).netloc
    calls, lock = [], threading.Lock()

    class Pass(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def body(self):
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                whole = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    whole += self.rfile.read(size)
                    self.rfile.readline()
                while self.rfile.readline().strip():
                    pass
                return whole
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def passed(self):
            body = self.body()
            headers = {key: value for key, value in self.headers.items() if key.lower() not in HOP}
            headers["Content-Length"] = str(len(body))
            connection = http.client.HTTPConnection(host, timeout=60)
            try:
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                content = answer.read()
            finally:
                connection.close()
            target = self.headers.get("X-Amz-Target", "")
            parts = urlsplit(self.path)
            if target.startswith("AmazonSQS."):
                call = sqs_call(target.removeprefix("AmazonSQS."), body)
            else:
                call = s3_call(self.command, parts.path, parts.query)
            with lock:
                calls.append((*call, answer.status))
            self.send_response(answer.status)
            for key, value in answer.getheaders():
                if key.lower() not in HOP | {"content-length"}:
                    self.send_header(key, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = passed

        def log_message(self, *arguments):
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *arguments):
            pass  # a client that is killed leaves its connections broken

    serving = Server(("127.0.0.1", 0), Pass)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{serving.server_address[1]}", calls
    finally:
        serving.shutdown()
        serving.server_close()
