"""Runs a batch against a fleet that scales by the alarms and policies of a template.

A discrete-event simulation of the queue, the group and the workers, job by job. It answers what no
look at the template can: is every job done, is one cut off, does the fleet sleep, what does it cost.
Bounded: simulated time ends after `Batch.hours`.
"""

import heapq
import random
from dataclasses import dataclass, field

import alarms

MINUTE = 60
BOOT = (60, 120)        # seconds from the launch to the first receive
SIX_HOURS = 6 * 3600    # after so long without a message SQS sends no metrics
BACK_OFF = 30           # seconds until a failed job is tried again


@dataclass
class Batch:
    """Work that arrives: (when, how many, mean seconds, how many of them can never succeed)."""

    name: str
    arrivals: list
    hours: float = 12
    delayed: int = 0                          # of the first arrivals, hidden for 15 minutes at first
    gaps: list = field(default_factory=list)  # (from, to) without any SQS metric
    ends: list = field(default_factory=list)  # when the group ends a machine at work (an upgrade, say)
    spot: list = field(default_factory=list)  # when EC2 takes a machine back with 120 s of notice


@dataclass
class Worker:
    """What runs on a machine."""

    slots: int = 16
    visibility: int = 60
    extends: bool = True
    drains: bool = True
    drain: int = 100
    idle: int = 0


@dataclass(eq=False)
class Job:
    seconds: float
    poison: bool = False
    receives: int = 0
    delivery: int = 0   # changes whenever the message changes hands, so that late events know
    finished: bool = False


@dataclass(eq=False)
class Machine:
    launched: float
    state: str = "booting"
    jobs: set = field(default_factory=set)  # (job, delivery)
    idle_since: float = None
    ended: float = None


class Fleet:
    def __init__(self, template, batch, worker, seed):
        resources = template.resources()
        group = resources["Group"]["Properties"]
        self.least, self.most = int(group["MinSize"]), int(group["MaxSize"])
        self.warm_up = int(group.get("DefaultInstanceWarmup", 0))
        self.hook = next(
            (int(hook["HeartbeatTimeout"]) for hook in group.get("LifecycleHookSpecificationList", [])
             if hook["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_TERMINATING"), 0)
        redrive = resources["Queue"]["Properties"].get("RedrivePolicy")
        self.receives = int(redrive["maxReceiveCount"]) if redrive else None
        self.policies = alarms.policies(resources)
        self.batch, self.worker, self.random = batch, worker, random.Random(seed)
        self.now, self.events, self.order = 0.0, [], 0
        self.visible, self.hidden, self.flying, self.machines = [], set(), set(), []
        self.desired, self.touched = self.least, -SIX_HOURS
        self.history, self.sizes = [], []
        self.jobs = self.done = self.dead = self.cut = self.given_back = self.twice = 0
        self.wake_ups = self.woken_for_nothing = 0
        self.last_done = self.asleep_at = None
        self.coming = 0

    # -- the clock

    def at(self, when, what, *arguments):
        self.order += 1
        heapq.heappush(self.events, (when, self.order, what, arguments))

    def run(self):
        for when, count, mean, poison in self.batch.arrivals:
            self.coming += 1
            self.at(when, self.arrive, count, mean, poison)
        for when in self.batch.ends:
            self.at(when, self.end_one, False)
        for when in self.batch.spot:
            self.at(when, self.end_one, True)
        self.at(0, self.set_desired, self.least)
        self.at(0, self.minute)
        end = self.batch.hours * 3600
        while self.events and self.events[0][0] <= end:
            self.now, _, what, arguments = heapq.heappop(self.events)
            what(*arguments)
        self.now = end
        return self

    # -- the queue

    def arrive(self, count, mean, poison):
        self.coming -= 1
        self.jobs += count
        self.touched = self.now
        for number in range(count):
            # sigma 0.8: most jobs are short, some take ten times as long
            job = Job(mean * self.random.lognormvariate(-0.32, 0.8), poison=number < poison)
            if number < self.batch.delayed:
                self.hidden.add(job)
                self.at(self.now + 900, self.show, job)
            else:
                self.visible.append(job)
        self.dispatch()

    def show(self, job):
        self.hidden.discard(job)
        self.visible.append(job)
        self.dispatch()

    def dispatch(self):
        ready = [machine for machine in self.machines if machine.state == "running"]
        while self.visible and ready:
            machine = min(ready, key=lambda one: len(one.jobs))
            if len(machine.jobs) >= self.worker.slots:
                return
            # A standard queue keeps no order.
            pick = self.random.randrange(len(self.visible))
            self.visible[pick], self.visible[-1] = self.visible[-1], self.visible[pick]
            job = self.visible.pop()
            self.touched = self.now
            if job.finished:
                continue
            if self.receives is not None and job.receives >= self.receives:
                self.dead += 1
                self.last_done = self.now
                continue
            job.receives += 1
            job.delivery += 1
            machine.jobs.add((job, job.delivery))
            machine.idle_since = None
            self.flying.add(job)
            self.at(self.now + job.seconds, self.finish, machine, job, job.delivery)
            if not self.worker.extends:
                self.at(self.now + self.worker.visibility, self.expire, job, job.delivery)

    def expire(self, job, delivery):
        """The visibility timeout passed and nobody extended it: the job is handed out again."""
        if job.delivery == delivery and job in self.flying:
            self.flying.discard(job)
            self.visible.append(job)
            self.dispatch()

    def finish(self, machine, job, delivery):
        if (job, delivery) not in machine.jobs:
            return
        machine.jobs.discard((job, delivery))
        self.touched = self.now
        if job.poison:
            if job in self.flying and job.delivery == delivery:
                self.at(self.now + BACK_OFF, self.expire, job, delivery)
        elif job.finished:
            self.twice += 1
        else:
            job.finished = True
            self.flying.discard(job)
            self.done += 1
            self.last_done = self.now
        self.rest(machine)
        self.dispatch()

    # -- the group

    def in_service(self):
        return sum(machine.state == "running" for machine in self.machines)

    def warm(self):
        return sum(machine.state == "running" and self.now - machine.launched >= self.warm_up for machine in self.machines)

    def set_desired(self, wanted):
        wanted = max(self.least, min(self.most, wanted))
        if self.desired == 0 < wanted:
            self.wake_ups += 1
            if not (self.visible or self.flying):
                self.woken_for_nothing += 1
        self.desired = wanted
        alive = [machine for machine in self.machines if machine.state in ("booting", "running")]
        for _ in range(wanted - len(alive)):
            machine = Machine(self.now)
            self.machines.append(machine)
            self.at(self.now + self.random.uniform(*BOOT), self.booted, machine)
        for machine in alive[:max(0, len(alive) - wanted)]:
            self.end(machine, self.hook)

    def booted(self, machine):
        if machine.state == "booting":
            machine.state = "running"
            self.rest(machine)
            self.dispatch()

    def rest(self, machine):
        if machine.state == "draining" and not machine.jobs:
            self.gone(machine)
        elif machine.state == "running" and not machine.jobs:
            machine.idle_since = self.now
            if self.worker.idle:
                self.at(self.now + self.worker.idle, self.leave, machine, self.now)

    def leave(self, machine, since):
        """Exit code 10: the machine ends itself and takes its place in the group along."""
        if machine.state == "running" and machine.idle_since == since and self.desired > self.least:
            self.desired -= 1
            self.gone(machine)

    def end_one(self, spot):
        working = [machine for machine in self.machines if machine.state == "running" and machine.jobs]
        if working:
            self.end(max(working, key=lambda one: len(one.jobs)), 120 if spot else self.hook)
            self.set_desired(self.desired)  # the group replaces it

    def end(self, machine, notice):
        if machine.state == "booting" or not self.worker.drains:
            self.stop(machine, cut=True)
        else:
            machine.state = "draining"
            self.rest(machine)
            if machine.state == "draining":
                drain = self.worker.drain
                self.at(self.now + min(notice, drain), self.stop, machine, notice < drain)

    def stop(self, machine, cut):
        if machine.state == "gone":
            return
        for job, delivery in sorted(machine.jobs, key=lambda one: one[1]):
            if job.finished:
                continue
            if cut:
                self.cut += 1
                if self.worker.extends:
                    self.at(self.now + self.worker.visibility / 2, self.expire, job, delivery)
            else:
                self.given_back += 1
                self.at(self.now, self.expire, job, delivery)
        self.gone(machine)

    def gone(self, machine):
        machine.state, machine.ended = "gone", self.now
        machine.jobs = set()

    # -- the minute

    def minute(self):
        self.at(self.now + MINUTE, self.minute)
        blind = self.now - self.touched >= SIX_HOURS and not (self.visible or self.flying or self.hidden)
        blind = blind or any(start <= self.now < stop for start, stop in self.batch.gaps)
        waiting = sum(not job.finished for job in self.visible)
        self.history.append({
            "visible": None if blind else waiting,
            "flying": None if blind else len(self.flying) or None,
            "delayed": None if blind else len(self.hidden) or None,
            "wanted": self.desired,
            "running": self.in_service(),
        })
        alive = sum(machine.state != "gone" for machine in self.machines)
        self.sizes.append(alive)
        over = not (self.coming or waiting or self.flying or self.hidden)
        if alive or self.desired or not over:
            self.asleep_at = None
        elif self.asleep_at is None:
            self.asleep_at = self.now
        seen = self.history[-alarms.LATE - 15:-alarms.LATE]  # no policy looks back further
        for policy in self.policies:
            wanted = policy.wanted(self.now, seen, self)
            if wanted is not None and wanted != self.desired:
                self.set_desired(wanted)

    # -- the verdict

    def hours(self):
        return sum(((machine.ended if machine.ended is not None else self.now) - machine.launched) / 3600
                   for machine in self.machines)

    def faults(self, wake_ups=None):
        """What went wrong, in words; nothing is the only right answer."""
        found = []
        if self.done + self.dead != self.jobs:
            found.append(f"{self.jobs - self.done - self.dead} jobs not done")
        if self.cut:
            found.append(f"{self.cut} jobs cut")
        if self.given_back and not (self.batch.ends or self.batch.spot):
            found.append(f"{self.given_back} jobs given back by scale-in")
        if self.twice:
            found.append(f"{self.twice} jobs done twice")
        if self.woken_for_nothing:
            found.append(f"woken {self.woken_for_nothing} times for nothing")
        if wake_ups is not None and self.wake_ups > wake_ups:
            found.append(f"{self.wake_ups} wake-ups, {wake_ups} would do")
        if self.asleep_at is None:
            found.append("never asleep")
        elif self.last_done is not None and self.asleep_at - self.last_done > 15 * MINUTE:
            found.append(f"asleep {(self.asleep_at - self.last_done) / MINUTE:.0f} min after the last job")
        return found
