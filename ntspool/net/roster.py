"""The sessions under way in one worker, and whose place may be given to another when there is none left.

Connections that do nothing must not keep everybody away, and those that come one after the other must not push out
whoever is at work. So a place is taken from who has been silent for longest, or else from who has had it for longest,
and from nobody within a grace. An honest session takes a tenth of a second; to have it ended, all places must change
hands in a whole one.
"""

from collections import OrderedDict
from itertools import takewhile
from typing import Final

from ntspool.net.connection import Connection

GREETING_GRACE: Final = 0.25
"""Seconds to say a ClientHello in: honest clients send it with the last packet of TCP's handshake, or right behind."""

SESSION_GRACE: Final = 1.0
"""Seconds that everybody who has said a ClientHello has for the session, whoever else wants the place."""


class Roster:
    """Connections by their descriptors. `add` each, tell when one was `heard`, and `remove` it when it is closed.

    All times are of time.monotonic.
    """

    __slots__ = ("_silent", "by_descriptor")

    def __init__(self) -> None:
        # In the order of their deadlines but for a moment after the timeout was changed, and for as long as a
        # balancer's header took.
        self.by_descriptor: dict[int, Connection] = {}
        # Those of them without a ClientHello, in the order in which they came.
        self._silent: OrderedDict[int, Connection] = OrderedDict()

    def add(self, connection: Connection) -> None:
        """Take in a connection that has said nothing yet."""
        self.by_descriptor[connection.descriptor] = self._silent[connection.descriptor] = connection

    def heard(self, connection: Connection) -> None:
        """Take note that a connection may have said its ClientHello."""
        if connection.greeted:
            self._silent.pop(connection.descriptor, None)

    def remove(self, connection: Connection) -> None:
        """Forget a connection."""
        del self.by_descriptor[connection.descriptor]
        self._silent.pop(connection.descriptor, None)

    def dispensable(self, now: float) -> Connection | None:
        """Return the connection whose place another may have; None if all are within their grace."""
        silent = next(iter(self._silent.values()), None)
        if silent is not None and now - silent.client.began >= GREETING_GRACE:
            return silent
        oldest = next(iter(self.by_descriptor.values()), None)
        return oldest if oldest is not None and now - oldest.client.began >= SESSION_GRACE else None

    def due(self, now: float) -> tuple[Connection, ...]:
        """Return the connections whose deadline has passed."""
        return tuple(takewhile(lambda each: each.deadline <= now, self.by_descriptor.values()))
