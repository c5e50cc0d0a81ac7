"""The 2013 sample's GetJobs, carried over to boto3 as it was: receive one message, download its object to the disk, run
`COMMAND in out`, upload the result, delete the message. With THREADS above 1, the same loop in so many threads.

    loop2013.py ENDPOINT QUEUE JOBS THREADS COMMAND...
"""

import json
import os
import subprocess
import sys
import tempfile
import threading

import boto3

ENDPOINT, QUEUE, JOBS, THREADS, *COMMAND = sys.argv[1:]
left = threading.Semaphore(int(JOBS))


def work(directory):
    session = boto3.session.Session()
    config = boto3.session.Config(s3={"addressing_style": "path"})
    s3 = session.client("s3", endpoint_url=ENDPOINT, config=config)
    sqs = session.client("sqs", endpoint_url=ENDPOINT)
    url = sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
    while left.acquire(blocking=False):
        messages = []
        while not messages:
            answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=1, WaitTimeSeconds=20, VisibilityTimeout=60)
            messages = answer.get("Messages", [])
        job = json.loads(messages[0]["Body"])
        (in_bucket, in_key), (out_bucket, out_key) = (job[name][5:].split("/", 1) for name in ("input", "output"))
        source = os.path.join(directory, "in-%d" % threading.get_ident())
        result = os.path.join(directory, "out-%d" % threading.get_ident())
        s3.download_file(in_bucket, in_key, source)
        subprocess.run([*COMMAND, source, result], check=True)
        s3.upload_file(result, out_bucket, out_key)
        os.unlink(source)
        os.unlink(result)
        sqs.delete_message(QueueUrl=url, ReceiptHandle=messages[0]["ReceiptHandle"])


with tempfile.TemporaryDirectory() as directory:
    threads = [threading.Thread(target=work, args=(directory,)) for _ in range(int(THREADS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
