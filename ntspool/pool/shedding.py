"""Overload control: whom to turn away when clients come faster than they can be served.

Clients wait in the listening socket's queue. Serving all of a queue that only grows means serving everyone late, and
in the end nobody: a client that has given up is served all the same. So, as in CoDel (RFC 8289), it is the time in
the queue that counts, not its length, and a queue that drains by itself is good: only when the wait has not once been
below `target` for a whole `interval` is there too much work. From then on whoever has waited longer than `target` is
turned away, which costs a hundredth of a session, so those behind it are served in time and the processor still has
work for `target` seconds ahead. That ends when the wait is below half of `target` again: the queue has drained.

CoDel's own law, to drop one packet now and then and ever more often, is for senders who slow down when they lose
one. Clients who come for keys do not know of each other; at three times the capacity two of three must go at once.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueueLimit:
    """How long clients may wait in the queue: above `target` seconds for all of `interval` seconds is overload."""

    target: float
    interval: float


class Shedder:
    """Decides for each client that is taken from the queue; `limit` may be changed at any time, None sheds nobody."""

    __slots__ = ("_above_since", "_last", "_overloaded", "limit")

    def __init__(self, limit: QueueLimit | None) -> None:
        self.limit = limit
        self._last = 0.0
        self._above_since: float | None = None
        self._overloaded = False

    def sheds(self, waited: float, now: float) -> bool:
        """Tell whether to turn away the client that has `waited` (seconds) in the queue until `now`.

        `now` is any clock that never goes back, in seconds; clients come in the order in which they queued.
        """
        if self.limit is None:
            return False
        target = self.limit.target
        if now - waited > self._last or waited < target / 2:
            # It came after the one before had left, or has hardly waited: the queue was empty in between, or nearly.
            self._above_since = None
            self._overloaded = False
        self._last = now
        if waited <= target:
            self._above_since = None
            return False
        if self._above_since is None:
            self._above_since = now
        if now - self._above_since >= self.limit.interval:
            self._overloaded = True
        return self._overloaded
