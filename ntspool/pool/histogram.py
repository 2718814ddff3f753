"""Durations in a fixed number of buckets: percentiles of any number of them in the same memory."""

import math
from collections.abc import Iterable

LOWEST = 1e-5
"""Seconds; what is shorter counts as this."""

HIGHEST = 1000.0
"""Seconds; what is longer counts as this in percentiles. `longest` is exact."""

RATIO = 1.02
"""Between the bounds of a bucket: a percentile is at most 2 % above the true one, and never below it."""

_SCALE = 1 / math.log(RATIO)
_BUCKETS = math.ceil(math.log(HIGHEST / LOWEST) * _SCALE) + 1


class Histogram:
    """Counts durations in log-spaced buckets.

    `count` is how many there are, `longest` the longest in seconds, `buckets` how many lie in each.
    """

    __slots__ = ("buckets", "count", "longest")

    def __init__(self, durations: Iterable[float] = ()) -> None:
        self.buckets = [0] * _BUCKETS
        self.count = 0
        self.longest = 0.0
        for duration in durations:
            self.add(duration)

    def add(self, duration: float) -> None:
        """Count a duration in seconds."""
        self.buckets[_bucket(duration)] += 1
        self.count += 1
        self.longest = max(self.longest, duration)

    def merge(self, other: "Histogram") -> None:
        """Count all that `other` has counted."""
        self.buckets = [ours + theirs for ours, theirs in zip(self.buckets, other.buckets, strict=True)]
        self.count += other.count
        self.longest = max(self.longest, other.longest)

    def percentile(self, percent: float) -> float | None:
        """Return the shortest duration that `percent` of all do not exceed (nearest rank), None when there are none."""
        rank = max(1, math.ceil(self.count * percent / 100))
        seen = 0
        for index, number in enumerate(self.buckets):
            seen += number
            if seen >= rank:
                return min(self.longest, LOWEST * RATIO**index)
        return None


def _bucket(duration: float) -> int:
    """Return the index of the bucket whose upper bound is the first that is not below `duration`."""
    if duration <= LOWEST:
        return 0
    return min(_BUCKETS - 1, math.ceil(math.log(duration / LOWEST) * _SCALE))
