"""A whole NTS service on loopback for examinations: a key exchange server, and the time servers that it hands out."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from ntspool.pool.model import Certificate
from tests.net.exam.keserver import KeBehaviour, Site, ke_server
from tests.net.exam.ntpserver import TimeBehaviour, new_jar, time_server

HOST = "127.0.0.1"
TIME_HOSTS = ("127.0.0.41", "127.0.0.42", "127.0.0.43", "127.0.0.44")


@dataclass(frozen=True, slots=True)
class Service:
    """How a service behaves: its key exchange, and each of its time servers; `dead` are handed out and do not run.

    If it is `slotted`, a name that begins with a number always gets the same one.
    """

    ke: KeBehaviour = field(default_factory=KeBehaviour)
    times: Sequence[TimeBehaviour] = (TimeBehaviour(), TimeBehaviour(), TimeBehaviour())
    dead: Sequence[tuple[str, int]] = ()
    slotted: bool = False


@contextmanager
def serving(service: Service, certificate: Certificate, host: str = HOST, port: int = 0) -> Iterator[int]:
    """Run a service; yield the port of its key exchange, any that is free for 0."""
    jar = new_jar()
    with ExitStack() as stack:
        places = [
            (address, stack.enter_context(time_server(jar, each, address)))
            for each, address in zip(service.times, TIME_HOSTS, strict=False)
        ]
        places += service.dead
        turns = itertools.cycle(places)

        def hand_out(name: str) -> tuple[str, int]:
            slot = name.partition(".")[0]
            return places[int(slot) % len(places)] if service.slotted and slot.isdigit() else next(turns)

        site = Site(certificate, jar, hand_out, service.ke)
        yield stack.enter_context(ke_server(site, host, port))
