"""The policies of ops/ with their blanks filled in, and an engine that decides requests with them."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from checks import Skip
from static_checks import filled
from template import policy

BUCKET, QUEUE, GROUP = "bp-bucket", "batchpipe-jobs", "batchpipe-workers"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/1111"
ACCOUNT = "eu-west-1:123456789012"
QUEUE_ARN = f"arn:aws:sqs:{ACCOUNT}:{QUEUE}"
DEAD_ARN = f"{QUEUE_ARN}-dlq"
GROUP_ARN = f"arn:aws:autoscaling:{ACCOUNT}:autoScalingGroup:0000:autoScalingGroupName/{GROUP}"


def role(name, key=False, **more):
    """A policy document of ops/, ready for a real account; with `key`, the KMS statement too."""
    values = {"BucketName": BUCKET, "KmsKeyArn": KEY, **more}
    document = filled(policy(name), **values)
    if key:
        document["Statement"].append(filled(policy("kms.json"), **values))
    return document


def decide(requests):
    """One True or False for each (policy, action, resource, context)."""
    lab = Path(os.environ["BATCHPIPE_LAB"])
    if not (shutil.which("node") and (lab / "npm" / "node_modules" / "@cloud-copilot" / "iam-simulate").exists()):
        raise Skip("node or @cloud-copilot/iam-simulate is not installed")
    rows = [dict(zip(("policy", "action", "resource", "context"), request)) for request in requests]
    result = subprocess.run(["node", Path(__file__).with_name("iam.mjs")], input=json.dumps(rows), capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    decisions = json.loads(result.stdout)
    for row, decision in zip(rows, decisions):
        assert isinstance(decision, bool), f"{row['action']} on {row['resource']}: {decision}"
    return decisions
