"""What it costs to decide about one client before TLS: nanoseconds, for few and for many prefixes."""

import argparse
import os
import random
import socket
import time
from collections.abc import Callable
from statistics import median

from ntspool.net.admission import Admission, packed_address, seconds_waited
from ntspool.pool.access import Access
from ntspool.pool.limits import Limits, PrefixLimit, PrefixTable, TurnedAway
from ntspool.pool.model import SessionRules
from ntspool.pool.shedding import QueueLimit

DECISIONS, ROUNDS = 50_000, 7


def measure(what: Callable[[], object]) -> float:
    """Return the median of the nanoseconds that one of the DECISIONS calls of `what` took."""
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        what()
        times.append((time.process_time() - began) / DECISIONS * 1e9)
    return median(times)


def limits(prefixes: int, width: int, rate: float) -> tuple[float, float]:
    """Return nanoseconds for admitting and releasing one of so many clients, and the share that was turned away."""
    rng = random.Random(8915)
    clients = [rng.randbytes(width) for _ in range(prefixes)]
    comers = rng.choices(clients, k=DECISIONS)
    table = Limits(PrefixLimit(500, rate, 1000), PrefixLimit(2000, 4 * rate, 4000), os.urandom(16))
    away = 0

    def decide() -> None:
        nonlocal away
        for packed in comers:
            place = table.admit(packed, time.monotonic())
            if isinstance(place, TurnedAway):
                away += 1
            else:
                table.release(place)

    return measure(decide), away / DECISIONS / ROUNDS


def whole() -> float:
    """Return nanoseconds for all that the listener asks, with a connection that waited in the queue."""
    admission = Admission()
    admission.adopt(
        SessionRules(
            5.0, 10_000, Access(), PrefixLimit(500, 1e5, 1000), PrefixLimit(2000, 1e5, 4000), QueueLimit(0.1, 1)
        )
    )
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()):
        accepted, peer = listening.accept()
        with accepted:

            def decide() -> None:
                for _ in range(DECISIONS):
                    place = admission.admit(0, accepted, packed_address(peer[0]), room=True)
                    if place is not None:
                        admission.release(place)

            asked = measure(decide)
            waited = measure(lambda: [seconds_waited(accepted) for _ in range(DECISIONS)])
            print(f"  of which how long it waited  {waited:6.0f} ns")
    return asked


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    for family, width in (("IPv4", 4), ("IPv6", 16)):
        for rate in (50.0, 1e5):
            for prefixes in (10, 1000, 100_000):
                took, away = limits(prefixes, width, rate)
                print(f"{family}, {prefixes:6} prefixes, rate {rate:6.0f}/s  {took:6.0f} ns  {away:4.0%} turned away")
    print(f"all that the listener asks     {whole():6.0f} ns")
    print(f"both tables                    {2 * PrefixTable(PrefixLimit(), bytes(16)).size / 1e6:6.1f} MB")


if __name__ == "__main__":
    main()
