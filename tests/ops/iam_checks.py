#!/usr/bin/env python3
"""Who may do what: a row for each right that is meant, and for each that must not be there, decided by an
IAM engine that knows actions, resources and conditions (moto does not know the last).
"""

from checks import check, finish
from iam import BUCKET, DEAD_ARN, GROUP_ARN, KEY, QUEUE_ARN, decide, role

B = f"arn:aws:s3:::{BUCKET}"
OTHER_QUEUE = "arn:aws:sqs:eu-west-1:123456789012:payroll"
OTHER_GROUP = "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:0000:autoScalingGroupName/web"
BY_S3 = {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}
BY_SQS = {"kms:ViaService": "sqs.eu-west-1.amazonaws.com"}

# (may it, action, resource, context)
WORKER = [
    (True, "sqs:GetQueueUrl", QUEUE_ARN, {}),
    (True, "sqs:GetQueueAttributes", QUEUE_ARN, {}),
    (True, "sqs:ReceiveMessage", QUEUE_ARN, {}),
    (True, "sqs:ChangeMessageVisibility", QUEUE_ARN, {}),
    (True, "sqs:DeleteMessage", QUEUE_ARN, {}),
    (True, "sqs:GetQueueUrl", DEAD_ARN, {}),
    (True, "sqs:SendMessage", DEAD_ARN, {}),
    (False, "sqs:SendMessage", QUEUE_ARN, {}),
    (False, "sqs:ReceiveMessage", DEAD_ARN, {}),
    (False, "sqs:DeleteMessage", DEAD_ARN, {}),
    (False, "sqs:PurgeQueue", QUEUE_ARN, {}),
    (False, "sqs:DeleteQueue", QUEUE_ARN, {}),
    (False, "sqs:SetQueueAttributes", QUEUE_ARN, {}),
    (False, "sqs:ReceiveMessage", OTHER_QUEUE, {}),
    (False, "sqs:ReceiveMessage", f"{QUEUE_ARN}-2", {}),
    (True, "s3:GetObject", f"{B}/input/a.csv", {}),
    (True, "s3:GetObjectVersion", f"{B}/input/a.csv", {}),
    (True, "s3:GetObject", f"{B}/release/batchpipe", {}),
    (False, "s3:GetObject", f"{B}/private/a.csv", {}),
    (False, "s3:GetObject", f"{B}/inputs/a.csv", {}),
    (False, "s3:GetObject", "arn:aws:s3:::other/input/a.csv", {}),
    # The head request of --if-exists and the 404 for a missing key.
    (True, "s3:GetObject", f"{B}/output/a.csv", {}),
    (True, "s3:ListBucket", B, {}),
    (True, "s3:ListBucket", B, {"s3:prefix": "input/2026/"}),
    (False, "s3:ListBucket", B, {"s3:prefix": "private/"}),
    (False, "s3:ListBucket", "arn:aws:s3:::other", {}),
    (True, "s3:PutObject", f"{B}/output/a.csv.zst", {}),
    (True, "s3:AbortMultipartUpload", f"{B}/output/a.csv.zst", {}),
    (False, "s3:PutObject", f"{B}/input/a.csv", {}),
    (False, "s3:PutObject", f"{B}/release/batchpipe", {}),
    (False, "s3:PutObjectAcl", f"{B}/output/a.csv", {}),
    (False, "s3:DeleteObject", f"{B}/output/a.csv", {}),
    (False, "s3:DeleteObject", f"{B}/input/a.csv", {}),
    (False, "s3:PutBucketPolicy", B, {}),
    (False, "s3:PutLifecycleConfiguration", B, {}),
    (True, "autoscaling:CompleteLifecycleAction", GROUP_ARN, {}),
    (True, "autoscaling:TerminateInstanceInAutoScalingGroup", GROUP_ARN, {}),
    (False, "autoscaling:TerminateInstanceInAutoScalingGroup", OTHER_GROUP, {}),
    (False, "autoscaling:SetDesiredCapacity", GROUP_ARN, {}),
    (False, "autoscaling:DeleteAutoScalingGroup", GROUP_ARN, {}),
    (False, "kms:Decrypt", KEY, BY_S3),
    (False, "iam:PassRole", "arn:aws:iam::123456789012:role/admin", {}),
]
SUBMITTER = [
    (True, "sqs:SendMessage", QUEUE_ARN, {}),
    (True, "sqs:GetQueueUrl", QUEUE_ARN, {}),
    (True, "sqs:GetQueueAttributes", QUEUE_ARN, {}),
    (True, "sqs:GetQueueAttributes", DEAD_ARN, {}),
    (False, "sqs:ReceiveMessage", QUEUE_ARN, {}),
    (False, "sqs:DeleteMessage", QUEUE_ARN, {}),
    (False, "sqs:PurgeQueue", QUEUE_ARN, {}),
    (False, "sqs:SendMessage", OTHER_QUEUE, {}),
    (True, "s3:PutObject", f"{B}/input/a.csv", {}),
    (True, "s3:AbortMultipartUpload", f"{B}/input/a.csv", {}),
    (False, "s3:PutObject", f"{B}/output/a.csv", {}),
    (False, "s3:PutObject", f"{B}/release/batchpipe", {}),
    (False, "s3:DeleteObject", f"{B}/input/a.csv", {}),
    (True, "s3:GetObject", f"{B}/output/a.csv", {}),
    (False, "s3:GetObject", f"{B}/release/batchpipe", {}),
    (True, "s3:ListBucket", B, {"s3:prefix": "output/"}),
    (True, "s3:ListBucket", B, {"s3:prefix": "input/x"}),
    (False, "s3:ListBucket", B, {"s3:prefix": "private/"}),
    (False, "autoscaling:SetDesiredCapacity", GROUP_ARN, {}),
]
OPERATOR = [
    (True, "sqs:GetQueueAttributes", QUEUE_ARN, {}),
    (True, "sqs:SendMessage", QUEUE_ARN, {}),
    (False, "sqs:ReceiveMessage", QUEUE_ARN, {}),
    (False, "sqs:DeleteMessage", QUEUE_ARN, {}),
    (True, "sqs:ReceiveMessage", DEAD_ARN, {}),
    (True, "sqs:DeleteMessage", DEAD_ARN, {}),
    (False, "sqs:DeleteQueue", DEAD_ARN, {}),
    (True, "s3:GetObject", f"{B}/input/a.csv", {}),
    (False, "s3:PutObject", f"{B}/input/a.csv", {}),
    (True, "s3:ListBucketMultipartUploads", B, {"s3:prefix": "output/"}),
    (True, "s3:AbortMultipartUpload", f"{B}/output/a.csv", {}),
    (False, "s3:AbortMultipartUpload", f"{B}/release/batchpipe", {}),
    (False, "s3:DeleteObject", f"{B}/output/a.csv", {}),
]
WITH_KEY = [
    (True, "kms:Decrypt", KEY, BY_S3),
    (True, "kms:GenerateDataKey", KEY, BY_S3),
    (True, "kms:Decrypt", KEY, BY_SQS),
    (True, "kms:GenerateDataKey", KEY, BY_SQS),
    (False, "kms:Decrypt", KEY, {}),
    (False, "kms:Decrypt", KEY, {"kms:ViaService": "ec2.eu-west-1.amazonaws.com"}),
    (False, "kms:Decrypt", KEY.replace("1111", "2222"), BY_S3),
    (False, "kms:ScheduleKeyDeletion", KEY, BY_S3),
]


def rows_hold(document, rows):
    decisions = decide([(document, action, resource, context) for _, action, resource, context in rows])
    wrong = [f"{action} on {resource} {context or ''} is {'allowed' if may else 'denied'}"
             for (meant, action, resource, context), may in zip(rows, decisions) if meant != may]
    assert not wrong, "; ".join(wrong)
    return f"{len(rows)} rows"


def every_statement_is_needed(name, rows):
    """Without a statement some row must fail: none is there for nothing, and the rows see them all."""
    whole = role(name)
    for left_out in whole["Statement"]:
        document = {**whole, "Statement": [one for one in whole["Statement"] if one is not left_out]}
        try:
            rows_hold(document, rows)
        except AssertionError:
            continue
        raise AssertionError(f"no row needs {left_out['Sid']}")


def main():
    check("iam: the worker may do its rows and nothing else", rows_hold, role("role.json"), WORKER)
    check("iam: the submitter may do its rows and nothing else", rows_hold, role("submit-role.json"), SUBMITTER)
    check("iam: the operator may do its rows and nothing else", rows_hold, role("operate-role.json"), OPERATOR)
    check("iam: with a key the worker may use it through S3 and SQS only", rows_hold, role("role.json", key=True), WITH_KEY)
    check("iam: with a key the submitter may use it through S3 and SQS only", rows_hold, role("submit-role.json", key=True), WITH_KEY)
    check("iam: every statement of role.json is needed by a row", every_statement_is_needed, "role.json", WORKER)
    check("iam: every statement of submit-role.json is needed by a row", every_statement_is_needed, "submit-role.json", SUBMITTER)
    check("iam: every statement of operate-role.json is needed by a row", every_statement_is_needed, "operate-role.json", OPERATOR)
    finish()


if __name__ == "__main__":
    main()
