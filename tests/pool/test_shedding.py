"""Overload control in front of a simulated worker: clients queue, and each costs time to serve or to turn away."""

from collections import deque

import pytest

from ntspool.pool.shedding import QueueLimit, Shedder

LIMIT = QueueLimit(target=0.1, interval=1.0)
SERVE, SHED, BATCH, BACKLOG = 1 / 3000, 15e-6, 64, 4096


class Worker:
    """Takes up to 64 clients a turn, as the listener does; `clock` has the kernel's resolution of 4 ms."""

    def __init__(self, limit=LIMIT, serve=SERVE):
        self.shedder = Shedder(limit)
        self.serve = serve
        self.queue = deque()
        self.now = 1e5
        self.served, self.shed, self.lost = [], 0, 0

    def run(self, arrivals):
        """Serve clients that come at these times, sorted, in seconds from now, until all are served or shed."""
        start, coming = self.now, deque(arrivals)
        while coming or self.queue:
            while coming and start + coming[0] <= self.now:
                self._queue(start + coming.popleft())
            if not self.queue:
                self.now = start + coming[0]
                continue
            for _ in range(min(BATCH, len(self.queue))):
                self._take()
        return self

    def _queue(self, at):
        if len(self.queue) < BACKLOG:
            self.queue.append(at)
        else:
            self.lost += 1

    def _take(self):
        waited = self.now - self.queue.popleft()
        if self.shedder.sheds(waited // 0.004 * 0.004, self.now):
            self.shed += 1
            self.now += SHED
        else:
            self.now += self.serve
            self.served.append((self.now, waited))

    def goodput(self, since, until, patience=0.5):
        """Sessions a second that were begun within `patience` seconds."""
        start = 1e5
        return sum(since <= at - start < until and waited <= patience for at, waited in self.served) / (until - since)


def steady(rate, seconds, since=0.0):
    return [since + number / rate for number in range(int(rate * seconds))]


@pytest.mark.parametrize(("times", "serve"), [(1.3, SERVE), (2, SERVE), (3, SERVE), (3, 1 / 500), (10, 1 / 500)])
def test_goodput_stays_near_capacity_and_the_wait_short(times, serve):
    worker = Worker(serve=serve).run(steady(times / serve, 20))
    assert worker.goodput(5, 20) > 0.9 / serve
    assert max(waited for at, waited in worker.served if at > 1e5 + 5) < LIMIT.target + BATCH * serve + 0.01
    assert worker.shed


def test_without_it_everybody_is_served_late():
    worker = Worker(limit=None).run(steady(9000, 20))
    assert worker.goodput(5, 20) == 0
    assert worker.shed == 0


@pytest.mark.parametrize("load", [0.1, 0.7, 0.95, 1.0])
def test_below_capacity_nobody_is_shed(load):
    worker = Worker().run(steady(3000 * load, 20))
    assert (worker.shed, worker.lost, len(worker.served)) == (0, 0, int(3000 * load * 20))


def test_a_burst_that_drains_is_not_shed():
    bursts = sorted(steady(1500, 20) + [at for second in range(1, 20, 4) for at in [second] * 1500])
    worker = Worker().run(bursts)
    assert (worker.shed, worker.lost) == (0, 0)


def test_it_ends_when_the_load_does():
    worker = Worker().run([*steady(9000, 5), *steady(1500, 10, since=5)])
    shed = worker.shed
    assert shed > 10_000
    worker.run([*steady(1500, 10), *[10.0] * 1500])
    assert worker.shed == shed


def test_a_worker_that_was_stopped_for_a_while_sheds_nobody():
    shedder = Shedder(LIMIT)
    # One client every ten seconds, each after the machine has slept: none of them found anybody in the queue.
    assert not any(shedder.sheds(0.5, 10.0 * number) for number in range(1, 20))


def test_overload_is_over_when_the_queue_was_empty():
    shedder = Shedder(LIMIT)
    assert not shedder.sheds(0.2, 10.0)
    assert not shedder.sheds(0.2, 10.1)
    assert [shedder.sheds(0.2, 10.1 + step / 10) for step in range(1, 12)][-1]
    assert not shedder.sheds(0.2, 99.0)


def test_it_can_be_switched_off_while_it_sheds():
    shedder = Shedder(LIMIT)
    verdicts = [shedder.sheds(0.2, 10.0 + step / 10) for step in range(20)]
    assert verdicts[0] is False
    assert verdicts[-1] is True
    shedder.limit = None
    assert shedder.sheds(0.2, 12.0) is False
