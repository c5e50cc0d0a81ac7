#!/usr/bin/env python3
"""The template deployed on moto and read back, then the roles tried with the real program under moto's
IAM enforcement: all is well with the role, and each right taken away shows as a clear error.

moto puts null where AWS::NoValue stands, so what a false condition leaves out is left out before. It
skips scaling policies, alarms and bucket and queue policies, and knows no hook: those are proven by
scaling_checks.py and static_checks.py. It wants two things that AWS does not, so the roles tried
here are copies with these added (lab facts, not rights to give): the batch calls by their own names,
and GetQueueUrl on everything. Conditions are iam_checks.py's.
"""

import base64
import json
import os
import re
import subprocess
import tempfile
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import ClientError

from checks import Skip, check, finish
from iam import BUCKET, QUEUE, role
from servers import client, environment, moto
from template import OPS, Template, load

BINARY = Path(os.environ.get("BATCHPIPE_BIN") or "/nowhere")
BATCH_NAMES = {  # moto checks these names, AWS the plain ones (sqs-batch-api-actions in the SQS guide)
    "sqs:DeleteMessage": "sqs:DeleteMessageBatch",
    "sqs:ChangeMessageVisibility": "sqs:ChangeMessageVisibilityBatch",
    "sqs:SendMessage": "sqs:SendMessageBatch",
}


def without_novalue(node, template):
    """The template with `!If [condition, this, !Ref AWS::NoValue]` (or the other way round) decided."""
    def decide(child):
        if isinstance(child, dict) and set(child) == {"Fn::If"}:
            condition, yes, no = child["Fn::If"]
            if {"Ref": "AWS::NoValue"} in (yes, no):
                return decide(yes if template.condition(condition) else no)
        return child

    if isinstance(node, dict):
        kept = {key: decide(child) for key, child in node.items()}
        return {key: without_novalue(child, template) for key, child in kept.items() if child != {"Ref": "AWS::NoValue"}}
    if isinstance(node, list):
        kept = map(decide, node)
        return [without_novalue(child, template) for child in kept if child != {"Ref": "AWS::NoValue"}]
    return node


class Account:
    """One moto server with the stack in it."""

    def __init__(self, url):
        self.url = url
        self.s3, self.sqs, self.iam = (client(url, name) for name in ("s3", "sqs", "iam"))

    def deploy(self):
        ec2 = client(self.url, "ec2")
        subnets = ec2.describe_subnets()["Subnets"]
        parameters = {
            "BucketName": BUCKET, "VpcId": subnets[0]["VpcId"], "BinarySha256": "0" * 64,
            "SubnetIds": ",".join(subnet["SubnetId"] for subnet in subnets),
        }
        document = load()
        body = {key: value for key, value in document.items() if key != "Resources"}
        body["Resources"] = without_novalue(document["Resources"], Template(document, **parameters))
        formation = client(self.url, "cloudformation")
        formation.create_stack(
            StackName="batchpipe", TemplateBody=json.dumps(body), Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        )
        stack, = formation.describe_stacks(StackName="batchpipe")["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE", stack["StackStatus"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        assert outputs["Input"] == f"s3://{BUCKET}/input/" and outputs["GroupName"] == "batchpipe-workers", outputs

    def user_data(self):
        template, = client(self.url, "ec2").describe_launch_template_versions(
            LaunchTemplateName=self.launch_template())["LaunchTemplateVersions"]
        return base64.b64decode(template["LaunchTemplateData"]["UserData"]).decode()

    def launch_template(self):
        return client(self.url, "ec2").describe_launch_templates()["LaunchTemplates"][0]["LaunchTemplateName"]

    def enforce(self, on):
        """moto: from now on every call is checked (0 calls are free), or none."""
        body = b"0" if on else b"1000000000"
        request = urllib.request.Request(f"{self.url}/moto-api/reset-auth", data=body, headers={"Content-Type": "text/plain"})
        urllib.request.urlopen(request, timeout=10).close()

    def keys_for(self, name, document):
        """Keys of a fresh role with that policy."""
        trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}
        arn = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
        self.iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=json.dumps(document))
        keys = client(self.url, "sts").assume_role(RoleArn=arn, RoleSessionName="trial")["Credentials"]
        return {"AWS_ACCESS_KEY_ID": keys["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"], "AWS_SESSION_TOKEN": keys["SessionToken"]}

    def queue_url(self, name=QUEUE):
        return self.sqs.get_queue_url(QueueName=name)["QueueUrl"]


def the_launch_template_carries_the_script(account):
    document = load()
    data = account.user_data()
    assert data.endswith((OPS / "user-data.sh").read_text()), "the user data read back does not end with ops/user-data.sh"
    settings = dict(re.findall(r"^(BATCHPIPE_[A-Z0-9_]+)='(.*)'$", data, re.M))
    wanted = Template(document, BucketName=BUCKET).properties("LaunchTemplate")["LaunchTemplateData"]["UserData"]
    wanted = dict(re.findall(r"^(BATCHPIPE_[A-Z0-9_]+)='(.*)'$", wanted, re.M))
    wanted["BATCHPIPE_BINARY_SHA256"] = "0" * 64
    assert settings == wanted, {key: (settings.get(key), wanted.get(key)) for key in wanted if settings.get(key) != wanted.get(key)}


def the_queues_are_as_written(account):
    attributes = account.sqs.get_queue_attributes(QueueUrl=account.queue_url(), AttributeNames=["All"])["Attributes"]
    redrive = json.loads(attributes["RedrivePolicy"])
    assert redrive["deadLetterTargetArn"].endswith(f":{QUEUE}-dlq") and int(redrive["maxReceiveCount"]) == 5, redrive
    dead = account.sqs.get_queue_attributes(QueueUrl=account.queue_url(f"{QUEUE}-dlq"), AttributeNames=["All"])["Attributes"]
    assert int(dead["MessageRetentionPeriod"]) > int(attributes["MessageRetentionPeriod"])


def the_group_is_empty_and_uses_the_template(account):
    group, = client(account.url, "autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    assert (group["MinSize"], group["DesiredCapacity"], group["Instances"]) == (0, 0, []), group
    mixed = group["MixedInstancesPolicy"]
    name = mixed["LaunchTemplate"]["LaunchTemplateSpecification"]["LaunchTemplateName"]
    assert name == account.launch_template()
    assert len(mixed["LaunchTemplate"]["Overrides"]) == 4
    assert mixed["InstancesDistribution"]["SpotAllocationStrategy"] == "price-capacity-optimized"


def the_role_and_its_profile_are_there(account):
    worker, = (one for one in account.iam.list_roles()["Roles"] if "WorkerRole" in one["RoleName"])
    document = account.iam.get_role_policy(RoleName=worker["RoleName"], PolicyName="worker")["PolicyDocument"]
    # moto keeps a policy of CloudFormation's as the text of its own data, so only the names are read.
    for statement in role("role.json")["Statement"]:
        assert statement["Sid"] in str(document), statement["Sid"]
    profile, = account.iam.list_instance_profiles()["InstanceProfiles"]
    assert [one["RoleName"] for one in profile["Roles"]] == [worker["RoleName"]]


# ---------------------------------------------------------------- the roles, with the real program

def for_moto(document, without=None):
    """A copy of a policy that moto can check, less one action if given."""
    copied = json.loads(json.dumps(document))
    for statement in copied["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        actions = [action for action in actions if action != without]
        statement["Action"] = actions + [BATCH_NAMES[action] for action in actions if action in BATCH_NAMES]
        statement.pop("Condition", None)
    copied["Statement"] = [statement for statement in copied["Statement"] if statement["Action"]]
    if without != "sqs:GetQueueUrl":
        copied["Statement"].append({"Effect": "Allow", "Action": "sqs:GetQueueUrl", "Resource": "*"})
    return copied


def batchpipe(account, keys, *arguments, timeout=60):
    return subprocess.run([BINARY, arguments[0], "--endpoint-url", account.url, "--config", "none", *arguments[1:]], env=environment(**keys),
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)


class Tried:
    """One queue, one dead letter queue and one prefix for one trial, so that trials do not meet."""

    def __init__(self, account, name):
        self.account, self.name, self.queue = account, name, f"try-{name}"
        sqs = account.sqs
        self.dead = sqs.create_queue(QueueName=f"{self.queue}-dlq")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=self.dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 5})
        self.url = sqs.create_queue(QueueName=self.queue, Attributes={"RedrivePolicy": redrive})["QueueUrl"]

    def role(self, name, without=None):
        document = for_moto(role(name, QueueName=self.queue), without)
        kind = name.split(".")[0]
        return self.account.keys_for(f"{self.name}-{kind}", document)

    def jobs(self, *keys):
        for number, key in enumerate(keys):
            output = f"s3://{BUCKET}/output/{self.name}/{key}" if keys.count(key) == 1 else f"s3://{BUCKET}/output/{self.name}/{number}"
            body = {"v": 1, "input": f"s3://{BUCKET}/input/{key}", "output": output}
            self.account.sqs.send_message(QueueUrl=self.url, MessageBody=json.dumps(body))

    def outputs(self):
        found = self.account.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"output/{self.name}/")
        return sorted(one["Key"].rsplit("/", 1)[-1] for one in found.get("Contents", []))

    def left(self, url):
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.account.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(count) for count in found.values())

    def run(self, keys, *more, timeout=60):
        return batchpipe(self.account, keys, "run", "--queue", self.queue, "--until-empty", "--wait-time", "1s", "--metrics-addr", "none",
                         "--visibility-timeout", "4s", *more, timeout=timeout)

    def submit(self, keys, *sizes):
        """`submit` of files of these sizes, then `status`; how the first that fails ended."""
        with tempfile.TemporaryDirectory() as folder:
            for number, size in enumerate(sizes):
                (Path(folder) / f"{number}.bin").write_bytes(os.urandom(size))
            submitted = batchpipe(self.account, keys, "submit", folder, "--input", f"s3://{BUCKET}/input/{self.name}/",
                                  "--output", f"s3://{BUCKET}/output/{self.name}/", "--queue", self.queue, "--part-size", "5MiB", "--journal", "none")
            return submitted if submitted.returncode else batchpipe(self.account, keys, "status", "--queue", self.queue)


def well(result, *codes):
    assert result.returncode in codes, f"exit {result.returncode}: {result.stderr[-800:]}"


@dataclass
class Trial:
    """What is done under a role less one right, and how it must show."""

    policy: str
    without: str
    inputs: tuple = ("small", "small", "small")
    command: tuple = ("--process", "copy")
    stops: bool = True      # else it may go on, but must say so
    timeout: int = 60

    def prepare(self, account):
        self.tried = Tried(account, f"{self.policy.split('.')[0]}-{self.without.split(':')[1]}")
        self.keys = self.tried.role(self.policy, self.without)
        if self.policy == "role.json":
            self.tried.jobs(*self.inputs)

    def run(self):
        if self.policy == "submit-role.json":
            self.result = self.tried.submit(self.keys, 1, 1, 1)
            return
        try:
            self.result = self.tried.run(self.keys, *self.command, timeout=self.timeout)
        except subprocess.TimeoutExpired as late:
            self.result = subprocess.CompletedProcess(late.cmd, None, "", (late.stderr or b"").decode())

    def verdict(self):
        """A clear error that names the right, soon, and no job lost."""
        if isinstance(self.failure, Exception):
            raise self.failure
        result, said = self.result, re.search(r"error\[BP\d{3}\].*", self.result.stderr, re.S)
        if self.policy == "role.json":
            there = self.tried.left(self.tried.url) + self.tried.left(self.tried.dead) + len(self.tried.outputs())
            assert there >= len(self.inputs), f"{len(self.inputs) - there} jobs are gone: {result.stderr[-400:]}"
        if self.stops:
            assert result.returncode not in (0, 8, None), f"exit {result.returncode}: it goes on: {result.stderr[-600:]}"
            assert said, f"exit {result.returncode}, no error[BPnnn]: {result.stderr[-600:]}"
            assert self.without in said[0], f"it does not name {self.without}: {said[0]}"
            return f"{said[0][:12]}, exit {result.returncode}"
        assert result.returncode != 0, "exit 0"
        assert self.without in result.stderr, f"it does not name {self.without}: {result.stderr[-600:]}"

    failure = None


SLOW = ("--", "/bin/sh", "-c", "sleep 8; cat")  # long enough for its lease to be extended
TRIALS = [
    Trial("role.json", "sqs:ReceiveMessage"),
    Trial("role.json", "sqs:DeleteMessage"),
    Trial("role.json", "sqs:GetQueueUrl"),
    Trial("role.json", "sqs:GetQueueAttributes"),
    Trial("role.json", "sqs:ChangeMessageVisibility", command=SLOW),
    # What can't be moved to the dead letters by us is moved by the redrive policy, later.
    Trial("role.json", "sqs:SendMessage", inputs=("not-there",), stops=False, timeout=15),
    Trial("role.json", "s3:GetObject"),
    Trial("role.json", "s3:PutObject"),
    # submit tries every file, tells of each, and ends with the code of "some failed".
    Trial("submit-role.json", "sqs:SendMessage", stops=False),
    Trial("submit-role.json", "s3:PutObject", stops=False),
    Trial("submit-role.json", "sqs:GetQueueUrl"),
]


def all_trials(account):
    """Everything is made first, then all of it runs at once under enforcement, then it is looked at."""
    account.s3.put_object(Bucket=BUCKET, Key="input/small", Body=b"small")
    account.s3.put_object(Bucket=BUCKET, Key="input/large", Body=os.urandom(11 << 20))
    account.s3.put_object(Bucket=BUCKET, Key="input/odd name \u00fc.csv", Body=b"odd")
    whole, rejecting, submitting = Tried(account, "all"), Tried(account, "rejecting"), Tried(account, "submitting")
    whole.jobs("small", "large", "odd name \u00fc.csv")
    rejecting.jobs("not-there")
    roles = {tried: tried.role("role.json") for tried in (whole, rejecting)}
    submit_keys = submitting.role("submit-role.json")
    for trial in TRIALS:
        trial.prepare(account)

    def attempt(trial):
        try:
            trial.run()
        except Exception as error:  # noqa: BLE001 - told by its verdict
            trial.failure = error

    account.enforce(True)
    try:
        with ThreadPoolExecutor(len(TRIALS) + 3) as pool:
            worked = pool.submit(whole.run, roles[whole], "--part-size", "5MiB", "--", "/bin/sh", "-c", "sleep 6; cat")
            rejected = pool.submit(rejecting.run, roles[rejecting], "--process", "copy")
            submitted = pool.submit(submitting.submit, submit_keys, 10, 11 << 20)
            list(pool.map(attempt, TRIALS))
    finally:
        account.enforce(False)

    def works():
        well(worked.result(), 0)
        assert whole.outputs() == ["large", "odd name \u00fc.csv", "small"], whole.outputs()
        assert whole.left(whole.url) == 0

    def rejects():
        well(rejected.result(), 0, 8)
        assert (rejecting.left(rejecting.url), rejecting.left(rejecting.dead)) == (0, 1)

    def submits():
        well(submitted.result(), 0)
        assert submitting.left(submitting.url) == 2

    check("moto: run works under role.json: parts, an odd name, leases extended", works)
    check("moto: run sends what can never be done to the dead letters under role.json", rejects)
    check("moto: submit and status work under submit-role.json", submits)
    for trial in TRIALS:
        what = "run" if trial.policy == "role.json" else "submit"
        how = "stops, says so and loses nothing" if trial.stops else "says so and loses nothing"
        check(f"moto: {what} without {trial.without} {how}", trial.verdict)


def moto_does_enforce(account):
    """Else all of the above proves nothing."""
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sqs:ListQueues", "Resource": "*"}]}
    keys = account.keys_for("nobody", document)
    named = {key.lower(): value for key, value in keys.items()}
    account.enforce(True)
    try:
        client(account.url, "s3", **named).list_objects_v2(Bucket=BUCKET)
    except ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 403, error
        return
    finally:
        account.enforce(False)
    raise AssertionError("moto let a role read that has no right to")


def main():
    with moto() as url:
        account = Account(url)
        if check("moto: the template deploys", account.deploy):
            check("moto: the launch template carries ops/user-data.sh, word for word", the_launch_template_carries_the_script, account)
            check("moto: queue and dead letter queue are as written", the_queues_are_as_written, account)
            check("moto: the group is empty and uses the launch template", the_group_is_empty_and_uses_the_template, account)
            check("moto: role and profile are there", the_role_and_its_profile_are_there, account)
            check("moto: a role without the right is refused", moto_does_enforce, account)
            if BINARY.is_file():
                all_trials(account)
            else:
                check("moto: run and submit work under their roles, and say which right they lack", no_binary)
    finish()


def no_binary():
    raise Skip(f"there is no batchpipe at {BINARY}")


if __name__ == "__main__":
    main()
