#!/usr/bin/env python3
"""Least privilege, measured: what the real program asks of SQS and S3, against what the roles grant.

A proxy in front of ministack notes every call that `submit`, `run` and `status` make over plain, large,
missing, versioned, rejected and retried jobs. A call the role lacks is a failure; so is a right that no
call uses, but for the few below.
"""

import base64
import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from checks import Skip, check, finish
from iam import BUCKET, QUEUE, decide, role
from proxy import proxy
from servers import client, environment, ministack
from template import OPS

BINARY = Path(os.environ.get("BATCHPIPE_BIN") or "/nowhere")

# Rights that none of these runs uses, with their reason.
USED_ELSEWHERE = {
    "role.json": {
        "autoscaling:CompleteLifecycleAction": "batchpipe-watch in user-data.sh",
        "autoscaling:TerminateInstanceInAutoScalingGroup": "batchpipe-leave in user-data.sh",
        "s3:ListBucket": "never asked for by itself: with it S3 answers 404, not 403, for a missing key",
    },
    "submit-role.json": {
        "s3:AbortMultipartUpload": "the error path of an upload, and Ctrl-C",
        "s3:GetObject": "people fetch their results with it (docs/deploy.md)",
    },
    "operate-role.json": {},
}
# Calls that are made and not granted on purpose, with their reason.
NOT_GRANTED = {
    "sqs:ListQueues": "only to suggest a name when the queue does not exist; a refusal is ignored",
}


def batchpipe(url, *arguments, timeout=60, cwd=None, **settings):
    return subprocess.run([BINARY, "--endpoint-url", url, "--config", "none", *arguments], env=environment(**settings),
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, cwd=cwd)


class Lab:
    """ministack with the queues and the bucket of the stack, and the proxy in front of it."""

    def __init__(self, direct, url, calls, folder):
        self.url, self.calls, self.folder = url, calls, folder
        self.s3, self.sqs = client(direct, "s3"), client(direct, "sqs")
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        self.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        self.dead = self.sqs.create_queue(QueueName=f"{QUEUE}-dlq")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 5})
        self.queue = self.sqs.create_queue(QueueName=QUEUE, Attributes={"RedrivePolicy": redrive})["QueueUrl"]

    def send(self, job):
        self.sqs.send_message(QueueUrl=self.queue, MessageBody=json.dumps(job))

    def counts(self, queue):
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
        return tuple(int(found[name]) for name in names)

    def keys(self, prefix):
        return [one["Key"] for one in self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]

    def run(self, *more, **settings):
        return batchpipe(self.url, "run", "--queue", QUEUE, "--output", f"s3://{BUCKET}/output/", "--input-prefix", "input/",
                         "--allow", f"s3://{BUCKET}/input/", "--allow", f"s3://{BUCKET}/output/", "--metrics-addr", "none",
                         "--work-dir", str(self.folder), *more, **settings)

    def since(self, start):
        """The calls made since a mark, without repeats."""
        return sorted({(action, resource, json.dumps(context)) for action, resource, context, _ in self.calls[start:]})


def ended(result, *codes):
    assert result.returncode in codes, f"exit {result.returncode}: {result.stderr[-800:]}"


def submitting(lab):
    """A directory with small files and one that needs several parts, and what it queued."""
    source = Path(lab.folder) / "source"
    source.mkdir()
    for number in range(12):
        (source / f"small-{number}.csv").write_text("a,b\n" * number)
    (source / "large.bin").write_bytes(os.urandom(12 << 20))
    ended(batchpipe(lab.url, "submit", str(source), "--input", f"s3://{BUCKET}/input/", "--output", f"s3://{BUCKET}/output/",
                    "--queue", QUEUE, "--part-size", "5MiB", "--journal", f"{lab.folder}/journal", "--batch", "first"), 0)
    ended(batchpipe(lab.url, "status", "--queue", QUEUE), 0)
    ended(batchpipe(lab.url, "status", "--queue", QUEUE, "--batch", "first", "--output", f"s3://{BUCKET}/output/",
                    "--journal", f"{lab.folder}/journal"), 0)
    # Objects that are there already: only listed. The jobs are not sent again.
    ended(batchpipe(lab.url, "submit", f"s3://{BUCKET}/input/", "--output", f"s3://{BUCKET}/output/", "--queue", QUEUE,
                    "--journal", "none", "--dry-run"), 0)
    assert len(lab.keys("input/")) == 13 and lab.counts(lab.queue)[0] == 13, lab.counts(lab.queue)


def working(lab):
    """All of them, a named version, a repeat that is skipped, and a job tried twice."""
    put = lab.s3.put_object(Bucket=BUCKET, Key="input/versioned.csv", Body=b"old")
    lab.s3.put_object(Bucket=BUCKET, Key="input/versioned.csv", Body=b"newer")
    lab.send({"v": 1, "input": f"s3://{BUCKET}/input/versioned.csv", "version_id": put["VersionId"]})
    ended(lab.run("--until-empty", "--part-size", "5MiB", "--process", "copy"), 0)
    assert len(lab.keys("output/")) == 14, lab.keys("output/")
    assert lab.counts(lab.queue) == (0, 0)
    read = lab.s3.get_object(Bucket=BUCKET, Key="output/versioned.csv")["Body"].read()
    assert read == b"old", read
    lab.send({"v": 1, "input": f"s3://{BUCKET}/input/small-1.csv"})
    ended(lab.run("--until-empty", "--process", "copy", "--if-exists", "skip"), 0)
    mark = Path(lab.folder) / "tried"
    lab.send({"v": 1, "input": f"s3://{BUCKET}/input/small-2.csv"})
    # A program that fails the first time: the message is given back with a delay.
    ended(lab.run("--until-empty", "--", "/bin/sh", "-c", f"test -e {mark} || {{ touch {mark}; exit 75; }}; cat"), 0)
    assert lab.counts(lab.queue) == (0, 0)


def moving(lab):
    """A message of the 2013 sample, as its SendJobs put it on the wire, done by the command its docs give in place of GetJobs."""
    body = json.dumps(["process", BUCKET, "input/", "output/", "small-4.csv"])
    lab.sqs.send_message(QueueUrl=lab.queue, MessageBody=base64.b64encode(body.encode()).decode())
    ended(lab.run("--until-empty", "--output-suffix", ".old", "--", "cp", "{input}", "{output}"), 0)
    assert "output/small-4.csv.old" in lab.keys("output/"), lab.keys("output/")
    assert lab.counts(lab.queue) == (0, 0)


def waiting(lab):
    """submit --wait, with a worker that does the job meanwhile."""
    source = Path(lab.folder) / "waited.csv"
    source.write_text("w")
    with ThreadPoolExecutor(1) as pool:
        submitted = pool.submit(batchpipe, lab.url, "submit", str(source), "--input", f"s3://{BUCKET}/input/", "--output", f"s3://{BUCKET}/output/",
                                "--queue", QUEUE, "--journal", "none", "--wait")
        started = time.monotonic()
        while time.monotonic() - started < 20 and lab.counts(lab.queue) == (0, 0):
            time.sleep(0.1)
        ended(lab.run("--until-empty", "--process", "copy"), 0)
        ended(submitted.result(60), 0)
    assert "output/waited.csv" in lab.keys("output/")


def rejecting(lab):
    """What can never be done goes to the dead letters, with the reason."""
    lab.send({"v": 1, "input": f"s3://{BUCKET}/input/missing.csv"})
    lab.send({"v": 1, "input": f"s3://{BUCKET}/private/x.csv"})
    ended(lab.run("--until-empty", "--process", "copy"), 0, 8)
    assert lab.counts(lab.queue) == (0, 0), lab.counts(lab.queue)
    assert lab.counts(lab.dead)[0] == 2, lab.counts(lab.dead)


def operating(lab):
    """What a person does: look at the dead letters, send some back, throw the rest away, clean up, ask the doctor."""
    lab.s3.put_object(Bucket=BUCKET, Key="input/bad.csv", Body=b"bad")
    lab.send({"v": 1, "id": "bad", "input": f"s3://{BUCKET}/input/bad.csv"})
    lab.run("--until-empty", "--", "/bin/sh", "-c", "exit 65")
    begun = lab.s3.create_multipart_upload(Bucket=BUCKET, Key="output/begun")
    lab.s3.upload_part(Bucket=BUCKET, Key="output/begun", UploadId=begun["UploadId"], PartNumber=1, Body=b"x")
    mark = len(lab.calls)
    listed = batchpipe(lab.url, "dlq", "list", "--queue", QUEUE, "--json")
    ended(listed, 0)
    letter = next(one["id"] for one in map(json.loads, listed.stdout.splitlines()) if "bad.csv" in json.dumps(one))
    time.sleep(1)  # a letter that is being looked at is hidden for a moment
    ended(batchpipe(lab.url, "dlq", "show", letter, "--queue", QUEUE, "--download", cwd=lab.folder), 0)
    ended(batchpipe(lab.url, "doctor", "--queue", QUEUE, "--output", f"s3://{BUCKET}/output/"), 0)
    ended(batchpipe(lab.url, "gc", f"s3://{BUCKET}/output/", "--older-than", "0s"), 0)
    assert not lab.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads")
    ended(batchpipe(lab.url, "dlq", "redrive", "--queue", QUEUE, "--max", "1"), 0)
    ended(batchpipe(lab.url, "dlq", "purge", "--queue", QUEUE, "--yes"), 0)
    lab.operated = lab.since(mark)


def stopping(lab):
    """A worker stopped in the middle of an upload of unknown length: the upload is aborted, the job given back."""
    lab.send({"v": 1, "input": f"s3://{BUCKET}/input/small-3.csv"})
    command = [BINARY, "run", "--queue", QUEUE, "--output", f"s3://{BUCKET}/output/stop/", "--input-prefix", "input/", "--metrics-addr", "none",
               "--part-size", "5MiB", "--drain-timeout", "1s", "--endpoint-url", lab.url, "--config", "none",
               "--", "/bin/sh", "-c", "cat; head -c 11000000 /dev/zero; sleep 30"]
    process = subprocess.Popen(command, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        started = time.monotonic()
        while time.monotonic() - started < 20 and not lab.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads"):
            time.sleep(0.2)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 5, f"exit {process.returncode}: {said[-800:]}"
    assert not lab.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads"), "the upload was left open"
    assert lab.counts(lab.queue) == (1, 0), lab.counts(lab.queue)


def granted(name, calls):
    """The role allows every call that was made."""
    document = role(name)
    calls = [call for call in calls if call[0] not in NOT_GRANTED]
    decisions = decide([(document, action, resource, json.loads(context)) for action, resource, context in calls])
    refused = [f"{action} on {resource}" for (action, resource, _), may in zip(calls, decisions) if not may]
    # A call for a place the operator did not allow would be a failure of its own.
    assert not refused, f"{name} lacks {refused}"
    return f"{len(calls)} different calls"


def granted_by_either(calls):
    refused = set.intersection(*({call for call, may in zip(calls, decide(
        [(role(name), action, resource, json.loads(context)) for action, resource, context in calls])) if not may} for name in USED_ELSEWHERE))
    assert not refused, refused


def used(name, calls):
    """Every right is used: each action of each statement by a call that this statement allows."""
    statements = role(name)["Statement"]
    requests, labels = [], []
    for statement in statements:
        if statement["Sid"] == "FetchProgram":  # aws s3 cp in user-data.sh
            continue
        for action in statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]:
            if action in USED_ELSEWHERE[name]:
                continue
            labels.append((statement["Sid"], action))
            same = [call for call in calls if call[0] == action]
            requests.append([({"Version": "2012-10-17", "Statement": [statement]}, action, resource, json.loads(context))
                             for _, resource, context in same])
    flat = decide([request for group in requests for request in group])
    answers = iter(flat)
    unused = []
    for label, group in zip(labels, requests):
        if not any([next(answers) for _ in group]):
            unused.append(f"{label[1]} in {label[0]}")
    assert not unused, f"{name} grants what no call uses: {unused}"
    return f"{len(labels)} rights"


def a_right_too_few_is_noticed(calls):
    document = role("role.json")
    document["Statement"] = [one for one in document["Statement"] if one["Sid"] != "RejectJobs"]
    decisions = decide([(document, action, resource, json.loads(context)) for action, resource, context in calls if action not in NOT_GRANTED])
    assert not all(decisions), "nobody asked for what RejectJobs grants"


def scripts_make_the_other_calls():
    text = (OPS / "user-data.sh").read_text()
    for command in ("complete-lifecycle-action", "terminate-instance-in-auto-scaling-group", "s3 cp"):
        assert command in text, command


def main():
    check("calls: the rights that the program does not use are used by user-data.sh", scripts_make_the_other_calls)
    if not BINARY.is_file():
        def missing():
            raise Skip(f"there is no batchpipe at {BINARY}")
        check("calls: the roles grant what the program asks for, and nothing else", missing)
        finish()
    with contextlib.ExitStack() as stack:
        direct = stack.enter_context(ministack())
        url, calls = stack.enter_context(proxy(direct))
        lab = Lab(direct, url, calls, stack.enter_context(tempfile.TemporaryDirectory()))
        whole = check("calls: submit and status do their work through the proxy", submitting, lab)
        submit_calls = lab.since(0)
        mark = len(calls)
        whole &= check("calls: run works off plain, large, versioned, skipped and retried jobs", working, lab)
        whole &= check("calls: run does the jobs of the 2013 sample's messages", moving, lab)
        whole &= check("calls: run rejects what can never be done", rejecting, lab)
        whole &= check("calls: run aborts and gives back when it is stopped", stopping, lab)
        worker_calls = lab.since(mark)
        mark = len(calls)
        check("calls: submit --wait sees its job done", waiting, lab)
        # Nobody can say which of the two asked; one of the two roles must grant it.
        check("calls: submit --wait asks for nothing that neither role grants", granted_by_either, lab.since(mark))
        check("calls: submit-role.json grants every call of submit and status", granted, "submit-role.json", submit_calls)
        check("calls: role.json grants every call of run", granted, "role.json", worker_calls)
        check("calls: a right too few would be noticed", a_right_too_few_is_noticed, worker_calls)
        if check("calls: a person looks after dead letters and uploads", operating, lab):
            check("calls: operate-role.json grants every call of dlq, gc and doctor", granted, "operate-role.json", lab.operated)
            check("calls: operate-role.json grants nothing that is not used", used, "operate-role.json", lab.operated)
        if whole:
            check("calls: submit-role.json grants nothing that is not used", used, "submit-role.json", submit_calls)
            check("calls: role.json grants nothing that is not used", used, "role.json", worker_calls)
        if os.environ.get("BATCHPIPE_SHOW_CALLS"):
            for name, made in (("submit", submit_calls), ("run", worker_calls)):
                for call in made:
                    print("      ", name, *call)
    finish()


if __name__ == "__main__":
    main()
