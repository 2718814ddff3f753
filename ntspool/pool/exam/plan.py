"""What an examination will do: settings, how many sessions and packets that makes, and the words for it."""

from dataclasses import dataclass
from pathlib import Path

from ntspool.pool.resolving import Server

ODD_SESSIONS = 21
"""Connections for what only a tester asks: two ways to greet, and an odd request each."""

AEAD_SESSIONS = 3
"""Sessions that offer another AEAD than the ordinary ones; one comes twice, with and without chrony's record 1024."""

HANDSHAKES = 2
"""Connections to each address: an ordinary session, and one that offers TLS 1.2 only."""

COOKIES = 8
"""Requests that spend the cookies of one key exchange."""

ODD_REQUESTS = 3
"""NTP requests beside those: a cookie spent again, a damaged one, and one under keys that are not its own."""

_DEFAULT_PORT = 4460


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings of an examination; the defaults bother nobody.

    `host` is a DNS name in lower case or an IP literal, and what the certificates must cover. `sessions` are those in
    which servers are collected beside the ones that every examination needs; `slots` are names `0.host` and on that are
    tried (0: none, at most 10). `families` are IP versions, 4 and 6. `odd` includes what only a tester asks; without it
    the examination is short enough for a monitor. `timeout` is seconds for one connection, session or request; `rate`
    is how many sessions begin a second, and requests at one NTP server, at most; `limit` is seconds for the whole,
    after which what is left is skipped. `ca` is a file of authorities instead of the system's; `insecure` goes on
    with a certificate that nobody should trust, and tells. `resolvers` are DNS servers instead of the system's.
    """

    host: str
    port: int = _DEFAULT_PORT
    sessions: int = 8
    slots: int = 4
    families: tuple[int, ...] = (4, 6)
    odd: bool = True
    timeout: float = 5.0
    rate: float = 2.0
    limit: float = 300.0
    ca: Path | None = None
    insecure: bool = False
    resolvers: tuple[Server, ...] = ()

    @property
    def most_sessions(self) -> int:
        """Connections of an examination of a service with one address of each family, at most."""
        return self.sessions_at(len(self.families))

    def sessions_at(self, addresses: int) -> int:
        """Return how many connections an examination makes, at most, of a service with so many addresses."""
        odd = ODD_SESSIONS if self.odd else 0
        return addresses * HANDSHAKES + AEAD_SESSIONS + self.sessions + self.slots + odd

    @property
    def requests(self) -> int:
        """NTP requests to each server that is handed out, at most."""
        return COOKIES + 1 + (ODD_REQUESTS if self.odd else 0)

    def describe(self) -> str:
        """Return what is about to be done, for who starts it and who is examined."""
        return (
            f"up to {self.most_sessions} NTS-KE connections to {self.host} port {self.port}"
            f" ({HANDSHAKES} more for every further address) and {self.requests} NTP requests to each server that it"
            f" hands out, no more than {self.rate:g} a second each, within {self.limit:g} s"
        )
