"""What must hold of the order of requests, checked as the log comes: I2, I4, I7 and I9.

Requests are noted in the order in which they were asked, each when it is over. So what was answered before a request was
asked is known when that is noted, and nothing is kept but the few facts that later ones are held against.
"""

import collections
import json

from lab import check

# How much later than a delete an extension may be read that was decided on before it, as a part of the visibility timeout:
# they come from two threads, on two connections, and a machine that has other work holds up either (0.5 s of 6 was not
# always enough). A keeper that went on after a delete would extend at any moment of the half timeout that follows, two of
# three times later than this, and there are thousands of deletes. That it never does, whatever the timing, is checked in
# simulated time (`tests/library/lease.rs`).
AFTER_DELETE = 1 / 6


class Order:
    """The requests of one round, so far."""

    def __init__(self, queue, inputs, outputs, suffix, visibility):
        self.queue, self.inputs, self.outputs, self.suffix = queue, inputs, outputs, suffix
        self.after_delete = visibility * AFTER_DELETE
        # The message of each job by its input, and when that was known to be there.
        self.bodies, self.there = {}, {}
        # Messages that are no jobs.
        self.bad = set()
        self.messages, self.finished = set(), set()
        self.owner, self.job, self.same = {}, {}, {}
        # When a worker first knew that an output is written, or a letter sent; and how often each was, and as what.
        self.committed = {}
        self.count = collections.Counter()
        self.written = collections.defaultdict(set)
        self.deleting = {}
        self.deletes = 0

    def note(self, op):
        if op.kind in ("PutObject", "CompleteMultipartUpload", "HeadObject"):
            self.object(op)
        elif op.kind == "ReceiveMessage":
            self.receive(op)
        elif op.kind == "SendMessageBatch":
            self.send(op)
        elif op.kind == "DeleteMessageBatch":
            self.delete(op)
        elif op.kind == "ChangeMessageVisibilityBatch":
            self.extend(op)

    def commit(self, op, what):
        self.committed[op.worker, what] = min(op.answered, self.committed.get((op.worker, what), op.answered))

    def object(self, op):
        writes = op.kind != "HeadObject"
        if op.key.startswith(f"{self.inputs}/"):
            if writes and op.status == 200 and op.delivered:
                self.there.setdefault(op.key, op.answered)
            return
        if not op.key.startswith(f"{self.outputs}/"):
            return
        done = writes and op.served == 200
        if done:
            self.count[op.key] += 1
            if op.kind == "PutObject" and op.fault != "flip-up":
                self.written[op.key].add(op.md5)
        known = done and op.status == 200 and op.delivered and op.fault != "error-in-200"
        # A completion whose answer was lost counts once a look has found the object.
        looked = not writes and op.status == 200 and op.delivered and self.count[op.key] > 0
        if known or looked:
            self.commit(op, op.key)

    def receive(self, op):
        for message, handle, body in op.messages:
            self.messages.add(message)
            self.owner[handle] = message
            # A spoiled body is nobody's job; the true one comes with another delivery.
            if op.fault != "bad-md5":
                # One copy of it, however often it came.
                self.job[message] = self.same.setdefault(body, body)
                if body not in self.bad:
                    self.finished.add(message)

    def send(self, op):
        if op.queue == self.queue:
            for body in op.bodies:
                key = json.loads(body)["input"].removeprefix("s3://")
                # I7: a job is announced only when its object is complete. One that was put before a kill was answered then.
                check(self.there.get(key, op.asked) < op.asked, f"a job was sent before its object was complete: {key}")
                self.bodies.setdefault(key, body)
        if op.queue == f"{self.queue}-dlq" and op.delivered and op.status == 200:
            for place in op.good:
                self.commit(op, op.bodies[place])

    def delete(self, op):
        if op.queue != self.queue:
            return
        self.deletes += len(op.good)
        for handle in op.handles:
            self.deleting.setdefault((op.worker, handle), op.begun)
            body = self.job.get(self.owner.get(handle))
            check(body is not None, f"{op.worker} deletes a message that nobody received")
            place = body if body in self.bad else json.loads(body)["output"].removeprefix("s3://") + self.suffix
            ok = self.committed.get((op.worker, place), op.asked) < op.asked
            check(ok, f"I2: {op.worker} deletes before the answer to its write: {place}")

    def extend(self, op):
        for handle in op.handles:
            late = op.begun - self.deleting.get((op.worker, handle), op.begun)
            check(late < self.after_delete, f"I9: {op.worker} extends {late:.2f} s after it asked to delete")

    def nothing_torn(self):
        torn = [key for key, sums in self.written.items() if len(sums) > 1]
        check(not torn, f"I4: an output was written with different bytes: {torn[:3]}")

    def writes(self):
        """How often an output was written."""
        return sum(self.count.values())
