"""ntspool/net/keserver.py over real TCP on loopback: pools and clients, and what they may take."""

import asyncio
import socket
import time
from contextlib import asynccontextmanager, closing
from dataclasses import astuple

import pytest
import uvloop
from structlog.testing import capture_logs

from ntspool.errors import ErrorCode, LocalError, RemoteError
from ntspool.net.keserver import LIMITS, KeCounters, KeLimits, KeServer
from ntspool.net.keyexchange import Server, exchange_keys
from ntspool.pool.backendke import BackendKe
from ntspool.pool.cookies import Association, CookieFormat, CookieJar, ServerKey
from ntspool.wire.aead import Aead
from ntspool.wire.messages import Refusal, RefusalReason, Request, error_refusal
from ntspool.wire.poolprotocol import FixedKeyRequest, Support, SupportQuery
from ntspool.wire.records import Record
from ntspool.wire.secret import Secret
from ntspool.wire.tlsrecords import MOST_RECORDS
from tests.abuse.attacks import empty_records, key_updates
from tests.net.poolclient import PoolClient
from tests.net.tlsclient import make_context

DEADLINE = 60
TOKEN = Secret(b"f0" * 32)
JAR = CookieJar(CookieFormat.NTSPOOL, [ServerKey(1, Secret(bytes(32)))], 0)
KEYS = BackendKe(JAR, (TOKEN,), 4123, bytes)
QUERY = SupportQuery(TOKEN)
BAD_REQUEST = Refusal(RefusalReason.ERROR, 1)


def fixed(number=1, token=TOKEN):
    return FixedKeyRequest(token, 15, Secret(bytes([number]) * 32), Secret(bytes([255 - number]) * 32))


@asynccontextmanager
async def serving(pki, limits=LIMITS, hosts=("127.0.0.1",), way="fast"):
    context = make_context(way, [pki.certificate])
    async with KeServer([(host, 0) for host in hosts], lambda: context, lambda: KEYS, limits) as server:
        yield server


def talk(pki, script, way="fast", limits=LIMITS, hosts=("127.0.0.1",), loop_factory=uvloop.new_event_loop):
    """Run `script`, which gets a function that connects, in a thread; return the server's counters."""

    async def main():
        async with serving(pki, limits, hosts, way) as server:
            address = server.addresses[0]
            await asyncio.to_thread(script, lambda: PoolClient(*address, pki.ca))
            return server.counters

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(main())


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("way", ["fast", "public"])
def test_a_pool_gets_cookies_for_many_clients_over_one_connection(pki, way, loop_factory):
    def script(connect):
        with connect() as pool:
            assert pool.ask(QUERY) == Support((0,), ((15, 32), (17, 64), (30, 16)), keep_alive=True)
            for number in range(20):
                answer = pool.ask(fixed(number))
                assert answer.keep_alive
                association = Association(
                    Aead.AES_SIV_CMAC_256, Secret(bytes([number]) * 32), Secret(bytes([255 - number]) * 32)
                )
                assert [JAR.open(cookie) for cookie in answer.response.cookies] == [association] * 8

    assert talk(pki, script, way, loop_factory=loop_factory) == KeCounters(connections=1, lists=1, fixed_keys=20)


def test_without_keep_alive_it_ends_after_the_answer(pki):
    def script(connect):
        with connect() as pool:
            assert not pool.ask(SupportQuery(TOKEN, keep_alive=False)).keep_alive
            assert pool.receive() is None

    talk(pki, script)


@pytest.mark.parametrize(
    "question", [SupportQuery(None), SupportQuery(Secret(b"f0" * 31)), fixed(token=None), fixed(token=Secret(b"x"))]
)
def test_strangers_are_refused_and_the_connection_ends(pki, question):
    def script(connect):
        with connect() as pool:
            assert pool.ask(question) == BAD_REQUEST
            assert pool.receive() is None

    assert talk(pki, script) == KeCounters(connections=1, refused=1)


def test_an_answer_behind_which_nothing_more_may_be_asked_is_not_lost_to_a_reset(pki):
    def script(connect):
        with connect() as pool:
            # What is unread when the server closes would reset the connection under its answer.
            pool.send(QUERY.encode() * 50)
            assert pool.receive() == error_refusal(ErrorCode.BAD_REQUEST).encode()
            assert pool.receive() is None

    talk(pki, script)


@pytest.mark.parametrize(
    ("message", "code"),
    [(Record(11, b"", critical=True).encode() + QUERY.encode(), 0), (bytes.fromhex("80000000"), 1), (b"\0" * 20, 1)],
)
def test_what_it_does_not_understand(pki, message, code):
    def script(connect):
        with connect() as pool:
            pool.send(message)
            assert pool.receive() == error_refusal(ErrorCode(code)).encode()
            assert pool.receive() is None

    talk(pki, script)


def test_no_keys_are_exported_where_others_were_carried(pki):
    def script(connect):
        with connect() as pool:
            assert pool.ask(QUERY).keep_alive
            pool.send(Request((0,), (15,)).encode())
            assert pool.receive() == error_refusal(ErrorCode.BAD_REQUEST).encode()

    talk(pki, script)


@pytest.mark.parametrize("aead", Aead)
def test_ordinary_clients(pki, aead):
    async def main():
        async with serving(pki, hosts=("127.0.0.1", "::1")) as server:
            for host, port in server.addresses:
                request = Request((0,), (aead,), compliant_128gcm=True)
                exchange = await exchange_keys(Server(host, port, "localhost", pki.ca), request, DEADLINE)
                assert [JAR.open(cookie) for cookie in exchange.reply.cookies] == [exchange.association] * 8
                assert (exchange.reply.server, exchange.reply.port) == (None, 4123)
            assert server.counters == KeCounters(connections=2, clients=2)

    asyncio.run(main())


# What peers may take.


def test_only_so_many_connections_are_kept_and_one_that_ends_makes_room(pki):
    def script(connect):
        with connect() as first, connect() as second:
            assert first.ask(QUERY).keep_alive
            assert second.ask(QUERY).keep_alive
            with connect() as third:
                assert not third.ask(fixed()).keep_alive
                assert third.receive() is None
            # Those that are kept stay so.
            assert first.ask(QUERY).keep_alive
        while True:
            with connect() as next_one:
                if next_one.ask(QUERY).keep_alive:
                    return

    talk(pki, script, limits=KeLimits(kept=2))


def test_too_many_connections_are_closed_at_once(pki):
    async def main():
        async with serving(pki, KeLimits(connections=2)) as server:
            waiting = [socket.create_connection(server.addresses[0]) for _ in range(2)]
            async with asyncio.timeout(DEADLINE):
                while len(server.open) < 2:
                    await asyncio.sleep(0.005)
            request, peer = Request((0,), (15,)), Server(*server.addresses[0], "localhost", pki.ca)
            with pytest.raises(RemoteError):
                await exchange_keys(peer, request, DEADLINE)
            waiting.pop().close()
            async with asyncio.timeout(DEADLINE):
                while len(server.open) > 1:
                    await asyncio.sleep(0.005)
            await exchange_keys(peer, request, DEADLINE)
            waiting.pop().close()

    asyncio.run(main())


@pytest.mark.parametrize("said", [b"", b"\x16\3\1", b"GET / HTTP/1.0\r\n\r\n"])
def test_whoever_does_not_come_to_the_point_is_cut_off(pki, said):
    async def main():
        async with serving(pki, KeLimits(timeout=0.05)) as server:
            with closing(socket.create_connection(server.addresses[0])) as sock:
                sock.sendall(said)
                sock.setblocking(False)
                async with asyncio.timeout(DEADLINE):
                    try:
                        while await asyncio.get_running_loop().sock_recv(sock, 4096):
                            pass
                    except ConnectionResetError:
                        pass
                    while server.open:
                        await asyncio.sleep(0.005)

    asyncio.run(main())


@pytest.mark.parametrize("attack", [key_updates, empty_records])
def test_what_is_sent_without_end_is_not_heard_without_end(pki, attack):
    def peer(address):
        with closing(socket.create_connection(address, DEADLINE)) as sock:
            for piece in attack(sock, 1):
                sock.sendall(piece)
                # What ends it are the answers to no more than so many records, and nothing after them.
                if not sock.recv(1 << 16):
                    return

    async def main():
        async with serving(pki, KeLimits(timeout=DEADLINE)) as server:
            await asyncio.to_thread(peer, server.addresses[0])

    with capture_logs() as logs:
        asyncio.run(main())
    [failed] = [line for line in logs if line["event"] == "NTS-KE connection failed"]
    assert failed["reason"] == "more TLS records than a question has"


def test_a_question_does_not_count_the_records_of_those_before_it(pki):
    def script(connect):
        with connect() as pool:
            for number in range(2 * MOST_RECORDS):
                assert pool.ask(fixed(number)).keep_alive

    talk(pki, script)


def test_a_kept_connection_may_be_idle_for_a_while_only(pki):
    def script(connect):
        with connect() as pool:
            assert pool.ask(QUERY).keep_alive
            # Half a question does not keep it open either.
            pool.send(QUERY.encode()[:7])
            assert pool.receive() is None

    talk(pki, script, limits=KeLimits(idle=0.05))


def test_a_kept_connection_outlives_what_it_had_for_its_first_question(pki):
    def script(connect):
        with connect() as pool:
            assert pool.ask(QUERY).keep_alive
            end = time.monotonic() + 1.2
            while time.monotonic() < end:
                assert pool.ask(fixed()).keep_alive

    talk(pki, script, limits=KeLimits(timeout=1.0))


def test_an_end_that_closes_ends_what_is_open(pki):
    async def main():
        async with serving(pki) as server:
            pool = PoolClient(*server.addresses[0], pki.ca)
            await asyncio.to_thread(pool.__enter__)
            assert (await asyncio.to_thread(pool.ask, QUERY)).keep_alive
        assert server.addresses == []
        with closing(pool):
            assert await asyncio.to_thread(pool.receive) is None

    asyncio.run(main())


def test_a_port_that_is_taken(pki):
    async def main():
        async with serving(pki) as server:
            with pytest.raises(LocalError, match="cannot listen on"):
                async with KeServer(server.addresses, lambda: None, lambda: KEYS):
                    pass

    asyncio.run(main())


def test_neither_tokens_nor_keys_nor_addresses_are_logged(pki):
    def script(connect):
        with connect() as pool:
            pool.ask(QUERY)
            pool.ask(fixed())
        with connect() as pool:
            pool.ask(SupportQuery(Secret(b"secret" * 6)))

    with capture_logs() as logs:
        counters = talk(pki, script)
    assert astuple(counters) == (2, 0, 1, 1, 1)
    assert not any(
        word in str(logs) for word in (TOKEN.reveal().decode(), "secret", "127.0.0.1", repr(bytes([1]) * 32))
    )
