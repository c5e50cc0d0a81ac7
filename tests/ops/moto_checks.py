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
import urllib.request
from pathlib import Path

from checks import Skip, check, finish
from iam import BUCKET, QUEUE, role
from servers import client, moto
from template import OPS, Template, load

BINARY = Path(os.environ.get("BATCHPIPE_BIN", "/nowhere"))
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
        keys = client(self.url, "sts").assume_role(RoleArn=arn, RoleSessionName="s")["Credentials"]
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
    if not BINARY.exists():
        raise Skip(f"there is no batchpipe at {BINARY}")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "BATCHPIPE_"))}
    environment |= {"AWS_REGION": "eu-west-1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null",
                    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "NO_COLOR": "1", **keys}
    return subprocess.run([BINARY, *arguments, "--endpoint-url", account.url, "--config", "none"], env=environment,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)


def main():
    with moto() as url:
        account = Account(url)
        if check("moto: the template deploys", account.deploy):
            check("moto: the launch template carries ops/user-data.sh, word for word", the_launch_template_carries_the_script, account)
            check("moto: queue and dead letter queue are as written", the_queues_are_as_written, account)
            check("moto: the group is empty and uses the launch template", the_group_is_empty_and_uses_the_template, account)
            check("moto: role and profile are there", the_role_and_its_profile_are_there, account)
    finish()


if __name__ == "__main__":
    main()
