"""How values are distributed: exactly while all of them are at hand, else by a sketch."""

from array import array
from collections.abc import Iterable
from itertools import accumulate, repeat
from math import ceil, fsum, inf, isfinite
from struct import Struct
from typing import NamedTuple

from ntspool.errors import WireError
from ntspool.pool.sketch import Sketch

_FIGURES = Struct(">fffI")
_AT_ONCE = 4096
"""Values that wait to be counted into a sketch, at most."""


class Figures(NamedTuple):
    """Values in seconds in four numbers, good to seven digits."""

    lowest: float
    highest: float
    total: float
    number: int


def figures(data: bytes) -> Figures | None:
    """Return the figures of a packed distribution, None of an empty one; raises WireError for what is none."""
    if not data:
        return None
    if len(data) < _FIGURES.size:
        raise WireError("a distribution without its figures")
    found = Figures(*_FIGURES.unpack_from(data))
    if not all(map(isfinite, found)):
        raise WireError("a distribution of values that are no numbers")
    return found


class Distribution:
    """Values in seconds of either sign. It is exact until packed ones are absorbed, unless it is not to be at all."""

    __slots__ = ("_count", "_highest", "_lowest", "_sketch", "_total", "_values")

    def __init__(self, *, exact: bool = True) -> None:
        self._values: array[float] = array("d")
        # What is in the sketch, and not at hand any more.
        self._sketch = None if exact else Sketch()
        self._count = 0
        self._total = 0.0
        self._lowest, self._highest = inf, -inf

    @property
    def exact(self) -> bool:
        """Whether every value is at hand."""
        return self._sketch is None

    @property
    def count(self) -> int:
        """How many values there are."""
        return self._count + len(self._values)

    @property
    def total(self) -> float:
        """Their sum."""
        return self._total + fsum(self._values)

    @property
    def lowest(self) -> float | None:
        """The lowest, good to seven digits; None without values."""
        return min(self._lowest, min(self._values, default=inf)) if self.count else None

    @property
    def highest(self) -> float | None:
        """The highest, good to seven digits; None without values."""
        return max(self._highest, max(self._values, default=-inf)) if self.count else None

    @property
    def furthest(self) -> float | None:
        """The greatest distance from zero, None without values."""
        if self.lowest is None or self.highest is None:
            return None
        return max(abs(self.lowest), abs(self.highest))

    @property
    def mean(self) -> float | None:
        """The mean, None without values."""
        return self.total / self.count if self.count else None

    def add(self, value: float) -> None:
        """Take a value."""
        self._values.append(value)
        if self._sketch is not None and len(self._values) >= _AT_ONCE:
            self._sketched()

    def pack(self) -> bytes:
        """Return the values as bytes, from which `absorb` takes them approximately; empty without any.

        It is exact no more then.
        """
        if self.lowest is None or self.highest is None:
            return b""
        return _FIGURES.pack(self.lowest, self.highest, self.total, self.count) + self._sketched().pack()

    def absorb(self, data: bytes) -> None:
        """Take what was packed, and be exact no more; raises WireError for what never was."""
        if (stated := figures(data)) is None:
            return
        sketch = Sketch.unpack(data[_FIGURES.size :])
        if sketch.buckets.total() != stated.number:
            raise WireError("a distribution with another number of values than it says")
        self._sketched().merge(sketch)
        self._extend(stated)

    def quantile(self, part: float) -> float | None:
        """Return the smallest value that so large a part (0 to 1) of all is at most (nearest rank); None without any.

        By a sketch it is off by a twentieth of itself at most.
        """
        if not self.count:
            return None
        if self.exact:
            return sorted(self._values)[self._rank(part) - 1]
        return self._within_extremes(self._approximate(part, magnitude=False))

    def magnitude(self, part: float) -> float | None:
        """Return the quantile of the values' distances from zero, as `quantile` does."""
        if not self.count:
            return None
        if self.exact:
            return sorted(map(abs, self._values))[self._rank(part) - 1]
        return min(self._approximate(part, magnitude=True), self.furthest or 0.0)

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
        return zip(self._values, repeat(1), strict=False) if self.exact else self._sketched().ordered()

    def _sketched(self) -> Sketch:
        """Return the sketch, with all values in it: from now on it is not exact."""
        sketch = self._sketch = Sketch() if self._sketch is None else self._sketch
        if self._values:
            values, self._values = self._values, array("d")
            for value in values:
                sketch.add(value)
            self._extend(Figures(min(values), max(values), fsum(values), len(values)))
        return sketch

    def _within_extremes(self, value: float) -> float:
        return min(max(value, self._lowest), self._highest)

    def _extend(self, more: Figures) -> None:
        self._lowest, self._highest = min(self._lowest, more.lowest), max(self._highest, more.highest)
        self._count += more.number
        self._total += more.total
