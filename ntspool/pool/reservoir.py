"""The connections to one upstream that are kept for reuse, and when another one is wanted: time in, decisions out."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from ntspool.pool.causes import Failure

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What holds for the connections of one worker to one upstream; all times in seconds.

    There are `connections` at most, none is used any more `age` after it was opened, and of those unused for `idle`
    only the newest stays. `waiting` clients may wait for one. After a failure the next attempt comes `pause` later; a
    spare that was lost unused is replaced `spare_pause` after the last one was opened.
    """

    connections: int = 8
    age: float = 600.0
    idle: float = 30.0
    waiting: int = 64
    pause: float = 2.0
    spare_pause: float = 10.0


BOUNDS = Bounds()


@dataclass(slots=True)
class _Kept(Generic[T]):
    connection: T
    opened: float
    since: float


class Reservoir(Generic[T]):
    """Decides about connections that the owner opens and closes; times are those of one steady clock, in seconds.

    `failure` is why the last attempt to get anywhere failed, None once one was good: until then nobody need wait.
    `waiting` is for the owner to keep.
    """

    def __init__(self, bounds: Bounds = BOUNDS) -> None:
        self.bounds = bounds
        self.failure: Failure | None = None
        self.waiting = 0
        self.opening = 0
        self._idle: list[_Kept[T]] = []
        self._taken: dict[int, _Kept[T]] = {}
        self._failed = self._opened = float("-inf")

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._idle) + len(self._taken)

    def begin(self, now: float) -> None:
        """Note that an attempt to open a connection begins; `opened` or `failed` must end it."""
        self.opening += 1
        self._opened = now

    def opened(self, connection: T, now: float) -> None:
        """Take a new connection, in use by whoever opened it."""
        self.opening -= 1
        self.failure = None
        self._taken[id(connection)] = _Kept(connection, now, now)

    def not_opened(self, failure: Failure | None, now: float) -> None:
        """Note that an attempt has failed, or was given up for no fault of the upstream's (None)."""
        self.opening -= 1
        if failure is not None:
            self.fail(failure, now)

    def fail(self, failure: Failure, now: float) -> None:
        """Note that the upstream is no good, as a new connection or a question has shown."""
        self.failure, self._failed = failure, now

    def take(self) -> T | None:
        """Return the connection that was used last, which is the least likely to be stale; it is in use from now."""
        if not self._idle:
            return None
        kept = self._idle.pop()
        self._taken[id(kept.connection)] = kept
        return kept.connection

    def used(self, connection: T, now: float) -> bool:
        """Note that a connection's use is over; tell whether it may have another one, else the caller is to drop it."""
        kept = self._taken[id(connection)]
        kept.since = now
        return now - kept.opened < self.bounds.age

    def keep(self, connection: T) -> None:
        """Have a connection wait for whoever takes it."""
        self._idle.append(self._taken.pop(id(connection)))

    def unused_for(self, connection: T, now: float) -> float:
        """Return the seconds since the last use of a connection that was taken again, or since it was opened."""
        return now - self._taken[id(connection)].since

    def drop(self, connection: T) -> None:
        """Forget a connection in use, which the owner closes."""
        del self._taken[id(connection)]

    def unused(self) -> tuple[T, ...]:
        """Return the connections that nobody uses, to look whether they are still good."""
        return tuple(kept.connection for kept in self._idle)

    def discard(self, connection: T) -> None:
        """Forget a connection that nobody uses, which the owner closes."""
        self._idle = [kept for kept in self._idle if kept.connection is not connection]

    def outdated(self, now: float) -> tuple[T, ...]:
        """Return the unused connections that are too old, or more than are needed; `discard` and close them."""
        newest = self._idle[-1] if self._idle else None
        return tuple(
            kept.connection
            for kept in self._idle
            if now - kept.opened >= self.bounds.age or (kept is not newest and now - kept.since >= self.bounds.idle)
        )

    def may_wait(self) -> bool:
        """Tell whether a client may wait for a connection: not for an upstream that is no good, and not too many."""
        return self.failure is None and self.waiting < self.bounds.waiting

    def wants(self, now: float) -> int:
        """Return how many connections to open now: for those who wait, and one ahead of need."""
        room = self.bounds.connections - self.open - self.opening
        if self.failure is not None:
            return min(room, 1) if not self.opening and now - self._failed >= self.bounds.pause else 0
        missing = self.waiting - self.opening
        if missing <= 0 and not self._idle and not self.opening:
            # After a use the next spare is due at once; after the loss of one that nobody used, there is time.
            missing = 1 if self._taken or now - self._opened >= self.bounds.spare_pause else 0
        return max(0, min(room, missing))
