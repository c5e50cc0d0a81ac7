"""The log of the proxy: every request in order, for as long as somebody wants to read it.

An entry takes a kilobyte, and hours make millions of them. So none outlives its use. A scenario's entries go with the
scenario. Whoever runs for long takes what is over as it comes, and keeps the few facts that its checks need. Numbers
go on counting: a mark stays a mark whatever has been taken or dropped since.

Written by the proxy's thread and read by those of the scenarios.
"""

import threading


class Log:
    """Requests by worker, each in the order of its number."""

    def __init__(self):
        self.lock = threading.Lock()
        self.count = 0
        self.ops = {}
        # Those that have got as far as taking messages.
        self.receivers = set()

    def add(self, op):
        with self.lock:
            self.count += 1
            op.number = self.count
            self.ops.setdefault(op.worker, []).append(op)
            if op.kind == "ReceiveMessage":
                self.receivers.add(op.worker)

    def mark(self):
        """How many requests there have ever been."""
        return self.count

    def since(self, mark=0, of=""):
        """What was asked after `mark`, by workers whose name begins like that, in order."""
        with self.lock:
            return [op for op in self._all(of) if op.number > mark]

    def take(self, of="", *, to_the_end=False):
        """Removes and returns, in order, what is over, up to the first that is not; or all there is.

        What comes later was therefore asked later, and an answer that came before a request is read before it.
        """
        with self.lock:
            there = self._all(of)
            if not to_the_end:
                there = there[: next((place for place, op in enumerate(there) if not op.over), len(there))]
            if there:
                last = there[-1].number
                for worker in self._workers(of):
                    self.ops[worker] = [op for op in self.ops[worker] if op.number > last]
            return there

    def drop(self, of=""):
        """Forgets these workers."""
        with self.lock:
            for worker in self._workers(of):
                del self.ops[worker]
                self.receivers.discard(worker)

    def _workers(self, of):
        return [worker for worker in self.ops if worker.startswith(of)]

    def _all(self, of):
        return sorted((op for worker in self._workers(of) for op in self.ops[worker]), key=lambda op: op.number)
