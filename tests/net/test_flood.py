"""Every limit under a flood from another process, while a client from another address is served each time."""

import asyncio
import contextlib
import os
import sys
import time
from ipaddress import ip_network
from pathlib import Path

import pytest
from OpenSSL import SSL

from ntspool.errors import RemoteError
from ntspool.net.keyexchange import Server, exchange_keys
from ntspool.net.tls import client_context
from ntspool.pool.access import Access
from ntspool.pool.limits import PrefixLimit, TurnedAway
from ntspool.pool.shedding import QueueLimit
from ntspool.wire.messages import Response
from tests.net.listening import REQUEST, Running
from tests.proxying import Balancer, header
from tests.waiting import DEADLINE

FLOOD = Path(__file__).with_name("flood.py")
ONE = ["127.0.9.1"]
MANY = [f"127.0.9.{number}" for number in range(1, 200)]
EVERYWHERE = [f"127.{number}.{number}.1" for number in range(10, 210)]
SESSIONS = 40
MOST_MEMORY = 40 << 20


@contextlib.asynccontextmanager
async def flood(port, sources, window=1, first=b""):
    process = await asyncio.create_subprocess_exec(
        sys.executable, FLOOD, str(port), ",".join(sources), str(window), first.hex(), stdin=asyncio.subprocess.PIPE
    )
    try:
        yield
    finally:
        process.stdin.close()
        await process.wait()


async def turned_away(running, why):
    """Return the counts once a thousand were turned away because of `why`."""
    counts = running.admission.take_counts()
    async with asyncio.timeout(DEADLINE):
        while counts[why] < 1000:
            await asyncio.sleep(0.01)
            counts += running.admission.take_counts()
    return counts


async def serve_all(server):
    """Run sessions one after the other, none of which may fail."""
    for _ in range(SESSIONS):
        assert isinstance((await exchange_keys(server, REQUEST, 5)).reply, Response)


async def serve_in_the_end(server, sessions=4):
    """Run sessions, each tried again until it succeeds, as clients do; return how long the successful tries took."""
    times = []
    async with asyncio.timeout(DEADLINE):
        while len(times) < sessions:
            began = time.monotonic()
            with contextlib.suppress(RemoteError):
                assert isinstance((await exchange_keys(server, REQUEST, 5)).reply, Response)
                times.append(time.monotonic() - began)
    return times


def memory():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def client_hello(pki):
    tls = SSL.Connection(client_context(pki.ca), None)
    tls.set_connect_state()
    with contextlib.suppress(SSL.WantReadError):
        tls.do_handshake()
    return tls.bio_read(1 << 16)


@pytest.mark.parametrize(
    ("why", "rules", "sources", "window"),
    [
        (TurnedAway.DENIED, {"access": Access(deny=(ip_network("127.0.9.0/24"),))}, MANY, 1),
        (TurnedAway.ADDRESS_SESSIONS, {"per_address": PrefixLimit(sessions=20)}, ONE, 300),
        (TurnedAway.NETWORK_SESSIONS, {"per_network": PrefixLimit(sessions=20)}, MANY, 300),
        (TurnedAway.ADDRESS_RATE, {"per_address": PrefixLimit(rate=1.0, burst=100)}, ONE, 1),
        (TurnedAway.NETWORK_RATE, {"per_network": PrefixLimit(rate=1.0, burst=100)}, MANY, 1),
        (TurnedAway.UNTRUSTED_PROXY, {"proxies": (Access(allow=(ip_network("127.0.0.1"),)),)}, MANY, 1),
    ],
    ids=lambda value: value.name if isinstance(value, TurnedAway) else "",
)
def test_a_flood_is_turned_away_and_others_are_served(pki, why, rules, sources, window):
    async def scene():
        async with Running(pki, limit=100, **rules) as running:
            async with flood(running.address[1], sources, window):
                counts = await turned_away(running, why)
                before = memory()
                await serve_via(running, serve_all)
                counts += running.admission.take_counts()
                grown = memory() - before
            return counts, grown

    counts, grown = asyncio.run(scene())
    assert set(counts) == {why}
    assert grown < MOST_MEMORY


async def serve_via(running, serve):
    """Serve straight, or by a balancer where that is the only way in."""
    if running.rules.trusted(0) is None:
        await serve(running.server)
        return
    async with Balancer(running.address, header("198.51.100.7")) as balancer:
        await serve(Server(*balancer.address, "localhost", running.server.ca))


def test_with_every_place_taken_a_client_that_comes_again_gets_one(pki):
    async def scene():
        async with Running(pki, limit=30, timeout=0.5) as running, flood(running.address[1], EVERYWHERE, 40):
            counts = await turned_away(running, TurnedAway.SESSIONS)
            await serve_in_the_end(running.server)
            assert running.listener.open_sessions <= 30
            return counts

    assert set(asyncio.run(scene())) == {TurnedAway.SESSIONS}


def test_overload_is_shed_and_who_is_served_is_served_soon(pki):
    async def scene():
        queue = QueueLimit(0.05, 0.2)
        async with (
            Running(pki, limit=1000, timeout=1.0, queue=queue) as running,
            flood(running.address[1], EVERYWHERE, 3000, client_hello(pki)),
        ):
            counts = await turned_away(running, TurnedAway.OVERLOAD)
            return counts, await serve_in_the_end(running.server)

    counts, times = asyncio.run(scene())
    assert TurnedAway.OVERLOAD in counts
    assert sorted(times)[len(times) // 2] < 1.0


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (bytes.fromhex("1603010200010001fc0303"), TurnedAway.PROXY_HEADER),
        (header("203.0.113.9"), TurnedAway.ADDRESS_RATE),
    ],
)
def test_a_flood_through_balancers_keeps_nobody_else_who_comes_through_them_away(pki, first, why):
    async def scene():
        trusted = Access(allow=(ip_network("127.0.0.0/8"),))
        rules = {"proxies": (trusted,), "per_address": PrefixLimit(rate=1.0, burst=100)}
        async with Running(pki, limit=200, **rules) as running, flood(running.address[1], ONE, 50, first):
            counts = await turned_away(running, why)
            await serve_via(running, serve_all)
            return counts + running.admission.take_counts()

    assert set(asyncio.run(scene())) == {why}
