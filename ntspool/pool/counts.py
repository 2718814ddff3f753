"""How many sessions there were, how they ended and how long they took: workers count, the control process sums up."""

import re
from bisect import bisect_left
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import lru_cache

BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds: the upper bounds of the buckets that durations are counted in; what is longer has a last bucket."""

KINDS = 64
"""Kinds of reasons that are told apart; clients cannot make more of them, whatever they send."""

OTHER = "other"

RATE_SPAN = 60.0
"""Seconds that a rate is the mean of."""

_NUMBER = re.compile(r"(?<![A-Za-z0-9])\d+")


@lru_cache(maxsize=1024)
def kind(reason: str) -> str:
    """Return a reason without the numbers that the client chose."""
    return _NUMBER.sub("N", reason)


@dataclass(slots=True)
class Durations:
    """How long things took: how many fell into each bucket of BOUNDS, and all their seconds together."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one that took so many seconds."""
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def merge(self, other: "Durations") -> None:
        """Count all that `other` has counted."""
        self.buckets = [ours + theirs for ours, theirs in zip(self.buckets, other.buckets, strict=True)]
        self.seconds += other.seconds


@dataclass(slots=True)
class SessionCounts:
    """Sessions that have ended.

    `outcomes` are by the session's outcome, `reasons` those that were not ok by the kind of the reason; those that were
    are in `aeads`, `backends` (by name) and `minted` (by key id). `durations` are those of all, from accept to close,
    `handshakes` of those that came to the end of TLS's handshake, until then.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    aeads: Counter[int] = field(default_factory=Counter)
    backends: Counter[str] = field(default_factory=Counter)
    minted: Counter[int] = field(default_factory=Counter)
    durations: Durations = field(default_factory=Durations)
    handshakes: Durations = field(default_factory=Durations)

    def end(self, outcome: str, seconds: float, handshake: float | None) -> None:
        """Count a session that took so many seconds; `handshake` is None if TLS's was not done."""
        self.outcomes[outcome] += 1
        self.durations.add(seconds)
        if handshake is not None:
            self.handshakes.add(handshake)

    def fail(self, reason: str) -> None:
        """Count why a session was not ok."""
        self._add_reason(kind(reason), 1)

    def assign(self, backend: str, aead: int, key: int | None) -> None:
        """Count a client that was sent to a backend, the AEAD that it is to use and the id of its cookies' key.

        `key` is None for cookies that the backend made under a key of its own.
        """
        self.backends[backend] += 1
        self.aeads[aead] += 1
        if key is not None:
            self.minted[key] += 1

    def merge(self, other: "SessionCounts") -> None:
        """Count all that `other` has counted."""
        self.outcomes.update(other.outcomes)
        self.aeads.update(other.aeads)
        self.backends.update(other.backends)
        self.minted.update(other.minted)
        for reason, number in other.reasons.items():
            self._add_reason(reason, number)
        self.durations.merge(other.durations)
        self.handshakes.merge(other.handshakes)

    @property
    def total(self) -> int:
        """How many sessions have ended."""
        return sum(self.durations.buckets)

    def _add_reason(self, reason: str, number: int) -> None:
        known = reason in self.reasons or len(self.reasons) < KINDS
        self.reasons[reason if known else OTHER] += number


class Rate:
    """How many a second there are of something, as the mean over the last RATE_SPAN; times are of one steady clock."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._added: deque[tuple[float, int]] = deque()

    def add(self, number: int, now: float) -> None:
        """Take note that there were so many since the last call."""
        self._added.append((now, number))
        self._forget(now)

    def __call__(self, now: float) -> float:
        """Return how many there are a second; of what is younger than RATE_SPAN, over its whole life."""
        self._forget(now)
        span = min(RATE_SPAN, max(now - self._began, 1.0))
        return sum(number for _, number in self._added) / span

    def _forget(self, now: float) -> None:
        while self._added and self._added[0][0] <= now - RATE_SPAN:
            self._added.popleft()
