"""A gateway before a herd: a discrete-event simulation of its queues, its policy and its clients."""

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from benches.herd_clients import AnyClient, Failure


@dataclass(frozen=True, slots=True)
class Policy:
    """What a gateway does with more clients than it can serve.

    `capacity` is sessions per second, all cores together. At most `limit` sessions are open; those beyond are closed
    before TLS or, with `answer_error`, given an NTS-KE error. With `target` the newest are turned away while the
    oldest open session has waited for longer than that, in seconds, for at least `interval`. `timeout` closes a
    session that has been open for so long.

    `backlog` connections wait in the kernel to be accepted; the SYNs of others are dropped. `accepted` is how many are
    taken out of there in one turn of the loop, which goes on with `batch` sessions: if
    they are no more than these, the kernel's queue is the only one that ever grows.
    """

    capacity: float
    limit: float = float("inf")
    answer_error: bool = False
    target: float | None = None
    interval: float = 0.1
    timeout: float = float("inf")
    backlog: int = 4096
    accepted: int = 256
    batch: int = 64


@dataclass(frozen=True, slots=True)
class Costs:
    """What is not a good session costs, in good sessions.

    `close` is turning away before TLS (29 us were measured, of 330), `error` an NTS-KE error, `wasted` a client that
    has given up, which the server learns only after its half of the handshake.
    """

    close: float = 0.09
    error: float = 0.9
    wasted: float = 0.6


class Attempt:
    """One session that a client tries; over for the client at `deadline` unless it is `done` before."""

    __slots__ = ("accepted", "began", "client", "connected", "cut", "deadline", "done", "syns")

    def __init__(self, client: AnyClient, began: float) -> None:
        self.client = client
        self.began = began
        self.connected = self.accepted = 0.0
        self.deadline = float("inf")
        self.syns = 0
        self.done = self.cut = False


@dataclass(slots=True)
class Herd:
    """A simulation; `run` it once, and read `counts` and the clients then."""

    policy: Policy
    random: Random
    costs: Costs = field(default_factory=Costs)
    now: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    work: float = 0.0
    backlog: deque[Attempt] = field(default_factory=deque)
    sessions: deque[Attempt] = field(default_factory=deque)
    _events: list[tuple[float, int, Callable[[Any], None], Any]] = field(default_factory=list)
    _number: int = 0
    _turning: bool = False
    _above: float | None = None

    def run(self, comings: Iterable[tuple[float, AnyClient]], until: float) -> None:
        """Let each client come at its time, and go on until all are served or `until`."""
        for time, client in comings:
            self._at(time, self._dial, client)
        while self._events and self._events[0][0] <= until:
            self.now, _, act, what = heapq.heappop(self._events)
            act(what)

    def _at(self, time: float, act: Callable[[Any], None], what: object) -> None:
        self._number += 1
        heapq.heappush(self._events, (time, self._number, act, what))

    # The client's side.

    def _dial(self, client: AnyClient) -> None:
        client.attempts += 1
        self.counts["attempts"] += 1
        self._syn(Attempt(client, self.now))

    def _syn(self, attempt: Attempt) -> None:
        if len(self.backlog) < self.policy.backlog:
            attempt.connected = self.now
            attempt.deadline = attempt.client.deadline(attempt.began, self.now)
            self.backlog.append(attempt)
            self._at(attempt.deadline, self._expire, attempt)
            self._wake()
            return
        self.counts["syns dropped"] += 1
        attempt.syns += 1
        again, patience = 2.0**attempt.syns - 1, attempt.client.patience
        if again < patience:
            self._at(attempt.began + again, self._syn, attempt)
        else:
            self._at(attempt.began + patience, self._expire, attempt)

    def _expire(self, attempt: Attempt) -> None:
        # A session that was closed by the gateway's timeout meets its client's own later.
        if not attempt.done:
            self.counts["cut" if attempt.cut else "timed out"] += 1
            self._fail(attempt, self.now, Failure.BEFORE_TLS)

    def _fail(self, attempt: Attempt, time: float, failure: Failure) -> None:
        attempt.done = True
        self.counts["failed"] += 1
        self._at(attempt.client.again(time, failure, self.random), self._dial, attempt.client)

    # The server's side.

    def _wake(self) -> None:
        if not self._turning:
            self._turning = True
            self._at(self.now, self._turn, None)

    def _turn(self, _: None) -> None:
        time = self.now
        for _each in range(min(self.policy.accepted, len(self.backlog))):
            time = self._accept(self.backlog.popleft(), time)
        for _each in range(min(self.policy.batch, len(self.sessions))):
            time = self._serve(self.sessions.popleft(), time)
        self.work += time - self.now
        # A turn that had nothing to do is the last one; whoever comes next begins another.
        if time > self.now or self.backlog or self.sessions:
            self._at(time, self._turn, None)
        else:
            self._turning = False

    def _accept(self, attempt: Attempt, time: float) -> float:
        if len(self.sessions) < self.policy.limit and not self._sheds(time):
            attempt.accepted = time
            if time + self.policy.timeout < attempt.deadline:
                attempt.deadline, attempt.cut = time + self.policy.timeout, True
                self._at(attempt.deadline, self._expire, attempt)
            self.sessions.append(attempt)
            return time
        if self.policy.answer_error:
            kind, cost, failure = "errors", self.costs.error, Failure.AFTER_TLS
        else:
            kind, cost, failure = "turned away", self.costs.close, Failure.BEFORE_TLS
        self.counts[kind] += 1
        time += cost / self.policy.capacity
        if attempt.deadline > time:
            self._fail(attempt, time, failure)
        return time

    def _sheds(self, time: float) -> bool:
        target = self.policy.target
        if target is None or not self.sessions or time - self.sessions[0].accepted <= target:
            self._above = None
            return False
        if self._above is None:
            self._above = time
        return time - self._above >= self.policy.interval

    def _serve(self, attempt: Attempt, time: float) -> float:
        if attempt.deadline <= time:
            if attempt.cut:
                return time
            self.counts["wasted"] += 1
            return time + self.costs.wasted / self.policy.capacity
        time += 1 / self.policy.capacity
        if attempt.deadline <= time:
            self.counts["wasted"] += 1
            return time
        attempt.done = True
        attempt.client.served = time
        self.counts["served"] += 1
        return time
