"""A queue loop around s5cmd: for each message `s5cmd cat INPUT | COMMAND | s5cmd pipe OUTPUT`, ten messages side by side.

    s5cmd_loop.py ENDPOINT QUEUE JOBS S5CMD COMMAND...
"""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import boto3

ENDPOINT, QUEUE, JOBS, S5CMD, *COMMAND = sys.argv[1:]
# A pipe fails as soon as one of its programs does.
PIPE = 'set -o pipefail; "$1" --endpoint-url "$2" cat "$3" | "${@:5}" | "$1" --endpoint-url "$2" pipe "$4"'


def work(message):
    job = json.loads(message["Body"])
    command = ["bash", "-c", PIPE, "bash", S5CMD, ENDPOINT, job["input"], job["output"], *COMMAND]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


sqs = boto3.client("sqs", endpoint_url=ENDPOINT)
url = sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
left = int(JOBS)
with ThreadPoolExecutor(10) as pool:
    while left:
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=min(10, left), WaitTimeSeconds=20, VisibilityTimeout=600)
        messages = answer.get("Messages", [])
        list(pool.map(work, messages))
        if messages:
            entries = [{"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(messages)]
            sqs.delete_message_batch(QueueUrl=url, Entries=entries)
        left -= len(messages)
