#!/usr/bin/env python3
"""The dashboard against the real thing: a worker with the real metrics, a real Prometheus that scrapes it,
and every panel asked for its data. A wrong name or label shows here as an empty panel.
"""

import json
import os
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

from checks import Skip, check, finish
from monitoring_checks import PROMTOOL, dashboard
from servers import environment, free_port, server

BINARY = Path(os.environ.get("BATCHPIPE_BIN") or "/nowhere")
PROMETHEUS = PROMTOOL.with_name("prometheus")

# Empty until something goes wrong, and nothing goes wrong here.
ONLY_IN_TROUBLE = {"Retries, by service and reason"}


@contextmanager
def worker(folder, port):
    """`batchpipe run` on the embedded backend, with good jobs, slow ones and ones that can't be done."""
    folder = Path(folder)
    for name in ("new", "in", "out"):
        (folder / name).mkdir()
    for number in range(300):
        (folder / "new" / f"{number}.txt").write_text("bad\n" if number % 50 == 7 else "x" * 1000)
    queue = f"sqlite:{folder}/jobs.db"
    common = {"env": environment(), "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    result = subprocess.run([BINARY, "submit", folder / "new", "--input", f"file://{folder}/in/", "--output", f"file://{folder}/out/",
                             "--queue", queue, "--journal", "none", "--config", "none"], timeout=60, **common)
    assert result.returncode == 0, result.stderr
    program = 'read -r line; [ "$line" != bad ] || exit 65; sleep 0.5; echo "$line"'
    process = subprocess.Popen([BINARY, "run", "--queue", queue, "--allow", f"file://{folder}/", "--metrics-addr", f"127.0.0.1:{port}",
                                "--concurrency", "8", "--visibility-timeout", "2s", "--config", "none", "--log-file", folder / "log",
                                "--progress", "none", "--", "/bin/sh", "-c", program], **common)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()


def query(url, expression):
    with urllib.request.urlopen(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}", timeout=10) as answer:
        return json.load(answer)["data"]["result"]


def is_ready(url):
    """Whether Prometheus has started: on a busy machine it listens for some seconds before, and answers 503."""
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=10) as answer:
            return answer.status == 200
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return False
        raise


def panels_have_data(url):
    filled, empty = 0, []
    for panel in dashboard()["panels"]:
        found = any(query(url, target["expr"]) for target in panel["targets"])
        filled += found
        if not found and panel["title"] not in ONLY_IN_TROUBLE:
            empty.append(panel["title"])
    assert not empty, f"no data: {empty}"
    return f"{filled} panels, but for {len(ONLY_IN_TROUBLE)} that speaks only in trouble"


def promtool_likes_the_metrics(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read()
    result = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, timeout=30)
    # 3 is advice on names; only what is wrong counts.
    said = (result.stdout + result.stderr).decode()
    assert result.returncode in (0, 3) and "error" not in said.lower(), said
    return f"{len(text.splitlines())} lines"


def main():
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def started():
            if not BINARY.is_file():
                raise Skip(f"there is no batchpipe at {BINARY}")
            if not PROMETHEUS.exists():
                raise Skip("Prometheus could not be installed")
            port = free_port()
            stack.enter_context(worker(folder, port))
            (folder / "prometheus.yml").write_text(
                "global: {scrape_interval: 1s}\n"
                f"scrape_configs: [{{job_name: batchpipe, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n")
            at = free_port()
            url = stack.enter_context(server([PROMETHEUS, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                                              f"--web.listen-address=127.0.0.1:{at}", "--log.level=error"], at))
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline and not is_ready(url):
                time.sleep(0.2)
            while time.monotonic() < deadline and not query(url, 'sum(increase(batchpipe_jobs_total{outcome="ok"}[1m])) > 20'):
                time.sleep(0.5)
            found.extend((port, url))

        found = []
        if check("dashboard: a worker at work is scraped", started) and found:
            port, url = found
            check("dashboard: promtool finds nothing wrong with the metrics", promtool_likes_the_metrics, port)
            check("dashboard: every panel has data", panels_have_data, url)
    finish()


if __name__ == "__main__":
    main()
