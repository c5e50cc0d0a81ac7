"""Where things are, and the environment that every process of a measurement gets."""

import os
import sys
from pathlib import Path

PEERS_SOURCE = Path(__file__).resolve().parent.parent
ROOT = PEERS_SOURCE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# What is installed: a directory for each peer and server.
PEERS = TARGET / "peers"
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class Built:
    """What cargo built: set once, by `run`."""

    programs = TARGET / "release"
    batchpipe = programs / "batchpipe"


def environment():
    """No credentials of anybody's, no proxy, nothing of the machine's AWS settings or of its authorities."""
    kept = {name: text for name, text in os.environ.items()
            if not name.startswith(("AWS_", "BATCHPIPE_", "SSL_CERT")) and "proxy" not in name.lower()}
    kept.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_REGION="us-east-1",
                AWS_DEFAULT_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true", AWS_CONFIG_FILE="/dev/null",
                AWS_SHARED_CREDENTIALS_FILE="/dev/null", RUST_LOG="warn", NODE_NO_WARNINGS="1")
    return kept


ENV = environment()


def say(text):
    print(text, file=sys.stderr, flush=True)


def show(size):
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} B"
