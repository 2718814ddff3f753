"""Clients behind a load balancer: the header first, from whom it may come, in its time, and TLS behind it."""

import asyncio
import contextlib
import time
from ipaddress import ip_network

import pytest

from ntspool.net import proxied
from ntspool.net.keyexchange import Server, exchange_keys
from ntspool.net.session import Outcome
from ntspool.pool.access import Access
from ntspool.pool.limits import PrefixLimit, TurnedAway
from tests.net.listening import REQUEST, Running
from tests.proxying import LOCAL, Balancer, header
from tests.waiting import until

LOOPBACK = Access(allow=(ip_network("127.0.0.0/8"), ip_network("::1")))


def running(pki, **rules):
    return Running(pki, proxies=(LOOPBACK,), **rules)


async def exchange_behind(it, first):
    async with Balancer(it.address, first) as balancer:
        return (await exchange_keys(Server(*balancer.address, "localhost", it.server.ca), REQUEST, 5)).reply


@pytest.mark.parametrize(
    ("first", "given", "client"),
    [
        (header("198.51.100.7"), "192.0.2.1", "198.51.100.7"),
        (header("2001:db8::7", tlvs=bytes(500)), "2001:db8::1", "2001:db8::7"),
        (header("::ffff:198.51.100.7"), "192.0.2.1", "198.51.100.7"),
        (LOCAL, "192.0.2.1", "127.0.0.1"),
    ],
)
def test_the_header_tells_who_the_client_is(pki, first, given, client):
    async def scene():
        async with running(pki) as it:
            reply = await exchange_behind(it, first)
            await until(lambda: it.reports)
            return reply, it.reports, it.admission.take_counts()

    reply, [(report, peer, _)], counts = asyncio.run(scene())
    assert (reply.server, peer, report.outcome) == (given, client, Outcome.OK)
    assert not counts


def test_a_header_may_come_in_pieces_and_with_the_first_bytes_of_tls(pki):
    async def scene():
        first = header("198.51.100.7")
        async with running(pki) as it:
            reader, writer = await asyncio.open_connection(*it.address)
            for at in range(len(first) - 1):
                writer.write(first[at : at + 1])
                await asyncio.sleep(0.001)
            writer.write(first[-1:] + b"GET / HTTP/1.0\r\n\r\n")
            await reader.read()
            writer.close()
            await until(lambda: it.reports)
            return it.reports

    [(report, peer, _)] = asyncio.run(scene())
    assert (report.outcome, peer) == (Outcome.TLS_FAILED, "198.51.100.7")


@pytest.mark.parametrize(
    "first",
    [
        bytes.fromhex("1603010200010001fc0303"),
        b"PROXY TCP4 198.51.100.7 192.0.2.1 1 2\r\n",
        header("198.51.100.7")[:-1],
        b"\r",
    ],
)
def test_without_a_good_header_it_is_closed_and_counted(pki, first, monkeypatch):
    monkeypatch.setattr(proxied, "HEADER_DEADLINE", 0.2)

    async def scene():
        async with running(pki) as it:
            reader, writer = await asyncio.open_connection(*it.address)
            writer.write(first)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
            await until(lambda: not it.listener.open_sessions)
            return it.admission.take_counts(), it.reports

    assert asyncio.run(scene()) == ({TurnedAway.PROXY_HEADER: 1}, [])


def test_a_balancer_that_says_nothing_is_closed_at_the_headers_deadline_and_not_counted(pki, monkeypatch):
    monkeypatch.setattr(proxied, "HEADER_DEADLINE", 0.2)

    async def scene():
        async with running(pki, timeout=60.0) as it:
            reader, writer = await asyncio.open_connection(*it.address)
            assert await reader.read() == b""
            writer.close()
            _, writer = await asyncio.open_connection(*it.address)
            writer.close()
            await until(lambda: not it.listener.open_sessions)
            return it.admission.take_counts()

    assert not asyncio.run(scene())


def test_the_headers_deadline_is_no_later_than_the_sessions(pki):
    async def scene():
        async with running(pki, timeout=0.2) as it:
            began = time.monotonic()
            reader, writer = await asyncio.open_connection(*it.address)
            assert await reader.read() == b""
            writer.close()
            return time.monotonic() - began

    assert 0.2 <= asyncio.run(scene()) < proxied.HEADER_DEADLINE


def test_from_elsewhere_nobody_comes_in_whatever_he_sends(pki):
    async def scene():
        elsewhere = Access(allow=(ip_network("192.0.2.0/24"),))
        async with Running(pki, proxies=(elsewhere,)) as it:
            reader, writer = await asyncio.open_connection(*it.address)
            writer.write(header("198.51.100.7"))
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
            return it.admission.take_counts()

    assert asyncio.run(scene()) == {TurnedAway.UNTRUSTED_PROXY: 1}


def test_a_header_where_none_is_expected_is_no_tls(pki):
    async def scene():
        async with Running(pki) as it:
            reader, writer = await asyncio.open_connection(*it.address)
            writer.write(header("198.51.100.7"))
            with contextlib.suppress(ConnectionResetError):
                await reader.read()
            writer.close()
            await until(lambda: it.reports)
            return it.reports

    [(report, peer, _)] = asyncio.run(scene())
    assert (report.outcome, peer) == (Outcome.TLS_FAILED, "127.0.0.1")


def test_the_limits_are_the_clients_and_their_places_are_given_back(pki):
    async def scene():
        async with running(pki, per_address=PrefixLimit(sessions=1)) as it:
            for _ in range(3):
                assert (await exchange_behind(it, header("198.51.100.7"))).server
                await until(lambda: not it.listener.open_sessions)
            holders = [await asyncio.open_connection(*it.address) for _ in range(3)]
            for (_, writer), client in zip(holders, ("198.51.100.7", "198.51.100.7", "198.51.100.8"), strict=True):
                writer.write(header(client))
            await until(lambda: it.listener.open_sessions == 2)
            for _, writer in holders:
                writer.close()
            return it.admission.take_counts()

    assert asyncio.run(scene()) == {TurnedAway.ADDRESS_SESSIONS: 1}


def test_connections_that_wait_for_their_header_count_among_all(pki):
    async def scene():
        async with running(pki, limit=2) as it:
            holders = [await asyncio.open_connection(*it.address) for _ in range(2)]
            await until(lambda: it.listener.open_sessions == 2)
            reader, writer = await asyncio.open_connection(*it.address)
            assert await reader.read() == b""
            for each in (writer, *(writer for _, writer in holders)):
                each.close()
            return it.admission.take_counts()

    assert asyncio.run(scene()) == {TurnedAway.SESSIONS: 1}
