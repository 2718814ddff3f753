"""What was asked of backends that keep their own keys: workers count, the control process sums up."""

from collections import Counter
from dataclasses import dataclass, field

from ntspool.pool.counts import Durations


@dataclass(slots=True)
class UpstreamCounts:
    """What has ended, by backend: `answered` questions for a client's cookies, and `opened` connections.

    `failed` are by backend and Cause, `unsent` of them those where no key had been sent, so that the client could get
    another backend. `waits` is how long clients waited until a connection was theirs, `answers` from then to the
    cookies.
    """

    answered: Counter[str] = field(default_factory=Counter)
    opened: Counter[str] = field(default_factory=Counter)
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)
    unsent: Counter[str] = field(default_factory=Counter)
    waits: Durations = field(default_factory=Durations)
    answers: Durations = field(default_factory=Durations)

    def merge(self, other: "UpstreamCounts") -> None:
        """Count all that `other` has counted."""
        self.answered.update(other.answered)
        self.opened.update(other.opened)
        self.failed.update(other.failed)
        self.unsent.update(other.unsent)
        self.waits.merge(other.waits)
        self.answers.merge(other.answers)
