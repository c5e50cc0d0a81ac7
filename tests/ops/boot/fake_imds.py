#!/usr/bin/env python3
"""A stand-in for the instance metadata service, version 2 only.

Files under FOLDER are the paths under /latest/meta-data/; no file is a 404, no token a 401.
Usage: fake_imds.py FOLDER ADDRESS PORT
"""

import http.server
import secrets
import sys
from pathlib import Path

folder, address, port = Path(sys.argv[1]).resolve(), sys.argv[2], int(sys.argv[3])
tokens = set()


class Metadata(http.server.BaseHTTPRequestHandler):
    def answer(self, code, body=""):
        self.send_response(code)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def do_PUT(self):
        ttl = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if self.path != "/latest/api/token":
            self.answer(404)
        elif not ttl.isdigit() or not 1 <= int(ttl) <= 21600:
            self.answer(400)
        else:
            token = secrets.token_urlsafe(40)
            tokens.add(token)
            self.answer(200, token)

    def do_GET(self):
        if self.headers.get("X-aws-ec2-metadata-token") not in tokens:
            self.answer(401)
            return
        file = (folder / self.path.removeprefix("/latest/meta-data/")).resolve()
        if folder not in file.parents or not file.is_file():
            self.answer(404)
        else:
            self.answer(200, file.read_text())

    def log_message(self, *arguments):
        pass


http.server.ThreadingHTTPServer((address, port), Metadata).serve_forever()
