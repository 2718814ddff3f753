"""How NTS-KE clients wait and come again, as small state machines: what was seen of unmodified daemons.

Each knows how long it waits (`deadline`, for a connection that the kernel took at `connected`; `patience` before
that) and when it tries again after a failure (`again`). Times are seconds, on the simulation's clock.
"""

import math
from enum import Enum
from random import Random


class Failure(Enum):
    """What a client sees of a session that gave no cookies."""

    BEFORE_TLS = "refused, closed or timed out before the handshake ended"
    AFTER_TLS = "an NTS-KE error"


class Client:
    """What the simulation knows of every client: when it first came, when it was served, how often it tried."""

    __slots__ = ("attempts", "came", "served")

    def __init__(self) -> None:
        self.attempts = 0
        self.came = 0.0
        self.served: float | None = None


class Chrony(Client):
    """chronyd: 16 s for a session; retries in 16, 32, 64 s .. 6 days, from 1024 s on once TLS stood.

    It looks at its clock for that only when it polls, every `poll` seconds: 2 in the burst after its start, else 64
    to 1024. (Seen with 2: 17.2 s and 33.3 s.)
    """

    __slots__ = ("poll",)
    name = "chrony"
    patience = 16.0
    longest = 2.0**19

    def __init__(self, poll: float) -> None:
        super().__init__()
        self.poll = poll

    def deadline(self, began: float, _connected: float) -> float:
        return began + self.patience

    def again(self, now: float, failure: Failure, random: Random) -> float:
        first = 16.0 if failure is Failure.BEFORE_TLS else 1024.0
        wait = min(first * 2.0 ** min(self.attempts - 1, 20), self.longest)
        return now + math.ceil(wait / self.poll) * self.poll * random.uniform(1.0, 1.02)


class Ntpsec(Client):
    """ntpd of NTPsec: 3 s to connect and 3 s for the first answer; retries in 2^(poll + 4) s, 4096 at most."""

    __slots__ = ("retry",)
    name = "ntpsec"
    patience = 3.0

    def __init__(self, poll: float) -> None:
        super().__init__()
        self.retry = min(16.0 * max(poll, 64.0), 4096.0)

    def deadline(self, _began: float, connected: float) -> float:
        return connected + self.patience

    def again(self, now: float, _failure: Failure, random: Random) -> float:
        return now + self.retry + random.random()


class NtpdRs(Client):
    """ntpd-rs: 5 s for a session; retries every second for ever."""

    __slots__ = ()
    name = "ntpd-rs"
    patience = 5.0

    def __init__(self, _poll: float) -> None:
        super().__init__()

    def deadline(self, began: float, _connected: float) -> float:
        return began + self.patience

    def again(self, now: float, _failure: Failure, random: Random) -> float:
        return now + random.uniform(1.0, 1.01)


AnyClient = Chrony | Ntpsec | NtpdRs
KINDS: dict[str, type[Chrony] | type[Ntpsec] | type[NtpdRs]] = {each.name: each for each in (Chrony, Ntpsec, NtpdRs)}
