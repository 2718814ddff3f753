"""How values are distributed: exactly while all of them are at hand, else by a sketch."""

from array import array
from collections.abc import Iterable
from itertools import accumulate, repeat
from math import ceil
from struct import Struct

from ntspool.errors import WireError
from ntspool.pool.sketch import Sketch

_EXTREMES = Struct(">fff")


class Distribution:
    """Values in seconds of either sign. It is exact until packed ones are absorbed, unless it is not to be at all.

    `lowest` and `highest` are good to seven digits in any case; None without values.
    """

    __slots__ = ("_sketch", "_sorted", "_values", "count", "highest", "lowest", "total")

    def __init__(self, *, exact: bool = True) -> None:
        self._values: array[float] = array("d")
        self._sorted = True
        self._sketch = None if exact else Sketch()
        self.count = 0
        self.total = 0.0
        self.lowest: float | None = None
        self.highest: float | None = None

    @property
    def exact(self) -> bool:
        """Whether every value is at hand."""
        return self._sketch is None

    @property
    def mean(self) -> float | None:
        """The mean, None without values."""
        return self.total / self.count if self.count else None

    def add(self, value: float) -> None:
        """Take a value."""
        if self._sketch is None:
            self._values.append(value)
            self._sorted = False
        else:
            self._sketch.add(value)
        self._extend(value, value, 1, value)

    def pack(self) -> bytes:
        """Return the values as bytes, from which `absorb` takes them approximately; empty without any."""
        if self.lowest is None or self.highest is None:
            return b""
        return _EXTREMES.pack(self.lowest, self.highest, self.total) + self._sketched().pack()

    def absorb(self, data: bytes) -> None:
        """Take what was packed, and be exact no more; raises WireError for what never was."""
        if not data:
            return
        if len(data) < _EXTREMES.size:
            raise WireError("a distribution without its extremes")
        lowest, highest, total = _EXTREMES.unpack_from(data)
        sketch = Sketch.unpack(data[_EXTREMES.size :])
        self._sketch, self._values = self._sketched(), array("d")
        self._sketch.merge(sketch)
        self._extend(lowest, highest, sketch.buckets.total(), total)

    def quantile(self, part: float) -> float | None:
        """Return the smallest value that so large a part (0 to 1) of all is at most (nearest rank); None without any.

        By a sketch it is off by a twentieth of itself at most.
        """
        if not self.count:
            return None
        found = self._ascending()[self._rank(part) - 1] if self.exact else self._approximate(part, magnitude=False)
        return self._within_extremes(found)

    def magnitude(self, part: float) -> float | None:
        """Return the quantile of the values' distances from zero, as `quantile` does."""
        if not self.count:
            return None
        if self.exact:
            return sorted(map(abs, self._values))[self._rank(part) - 1]
        return min(self._approximate(part, magnitude=True), self.furthest or 0.0)

    @property
    def furthest(self) -> float | None:
        """The greatest distance from zero, None without values."""
        if self.lowest is None or self.highest is None:
            return None
        return max(abs(self.lowest), abs(self.highest))

    def share_within(self, limit: float) -> float | None:
        """Return which part of the values is no further from zero than `limit`; None without any.

        By a sketch, values that differ from the limit by less than a tenth of it may be counted on the wrong side.
        """
        if not self.count:
            return None
        return sum(count for value, count in self._counted() if abs(value) <= limit) / self.count

    def _rank(self, part: float) -> int:
        return max(1, ceil(part * self.count))

    def _approximate(self, part: float, *, magnitude: bool) -> float:
        counted = list(self._sketched().ordered())
        if magnitude:
            counted = sorted((abs(value), count) for value, count in counted)
        ranks = accumulate(count for _, count in counted)
        rank = self._rank(part)
        return next(value for (value, _), reached in zip(counted, ranks, strict=True) if reached >= rank)

    def _counted(self) -> Iterable[tuple[float, int]]:
        if self._sketch is None:
            return zip(self._values, repeat(1), strict=False)
        return self._sketch.ordered()

    def _ascending(self) -> "array[float]":
        if not self._sorted:
            self._values = array("d", sorted(self._values))
            self._sorted = True
        return self._values

    def _sketched(self) -> Sketch:
        if self._sketch is not None:
            return self._sketch
        sketch = Sketch()
        for value in self._values:
            sketch.add(value)
        return sketch

    def _within_extremes(self, value: float) -> float:
        assert self.lowest is not None  # noqa: S101  -- there are values
        assert self.highest is not None  # noqa: S101  -- the same
        return min(max(value, self.lowest), self.highest)

    def _extend(self, lowest: float, highest: float, count: int, total: float) -> None:
        self.lowest = lowest if self.lowest is None else min(self.lowest, lowest)
        self.highest = highest if self.highest is None else max(self.highest, highest)
        self.count += count
        self.total += total
