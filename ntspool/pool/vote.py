"""Which clocks agree: the intersection algorithm of RFC 5905 section 11.2.1, which needs no clock of its own.

Every voter is an interval that should hold the true time. What a majority of them has in common bounds that time; who
lies wholly outside is a falseticker. RFC 5905 begins by hoping for no falseticker and takes the first, smallest
intersection, which a minority can shift so that it leaves out an honest clock with narrow bounds. Here as many
falsetickers are allowed for as a majority can bear: then the true time lies within the bounds whenever a majority is
honest, and nobody honest is accused.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a voter says that the true time is, in seconds against any clock common to all voters."""

    low: float
    high: float

    def meets(self, other: "Interval") -> bool:
        """Tell whether the two have a point in common."""
        return self.low <= other.high and other.low <= self.high

    @property
    def middle(self) -> float:
        """The midpoint."""
        return (self.low + self.high) / 2


def interval(offset: float, distance: float, tolerance: float) -> Interval:
    """Return what a clock at `offset` votes for that is off by `distance` at most.

    Two voters disagree only if they are more than `tolerance` apart beyond both their distances.
    """
    reach = distance + tolerance / 2
    return Interval(offset - reach, offset + reach)


def intersect(voters: Sequence[Interval]) -> Interval | None:
    """Return from the first to the last point that more than half of the voters share; None if there is none.

    Those that do not meet it are falsetickers.
    """
    # At the same point, intervals begin before others end: touching is agreeing.
    edges = sorted([(each.low, 0) for each in voters] + [(each.high, 1) for each in voters])
    majority, depth = len(voters) // 2 + 1, 0
    low = high = None
    for point, is_end in edges:
        if is_end:
            if depth >= majority:
                high = point
            depth -= 1
        else:
            depth += 1
            if depth >= majority and low is None:
                low = point
    return None if low is None or high is None else Interval(low, high)
