"""Starts what the checks talk to, on loopback and on a free port, and ends it by its pid."""

import contextlib
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

LAB = Path(os.environ["BATCHPIPE_LAB"])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def server(command, port, **environment):
    """Runs a server until the block ends; gives its URL once it answers anything at all."""
    with open(LAB / f"{Path(command[0]).name}.log", "w") as log:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise AssertionError(f"{command[0]} does not answer")
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def moto():
    port = free_port()
    return server([LAB / "venv" / "bin" / "moto_server", "-H", "127.0.0.1", "-p", str(port)], port)


def ministack():
    port = free_port()
    return server([LAB / "venv-ministack" / "bin" / "ministack"], port, BIND_HOST="127.0.0.1", GATEWAY_PORT=str(port))


def environment(**more):
    """For programs under test: nothing of the caller's account, and no way to a real one."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "BATCHPIPE_"))}
    return kept | {
        "AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "NO_COLOR": "1", **more,
    }


def client(url, service, **keys):
    import boto3
    from botocore.config import Config

    config = Config(retries={"max_attempts": 2}, s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=30)
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"} | keys
    return boto3.client(service, endpoint_url=url, region_name="eu-west-1", config=config, **keys)
