"""Sessions whose answer must be fetched, over real sockets: what clients do meanwhile, and what becomes of it."""

import asyncio
import contextlib
import socket
import struct

from OpenSSL import SSL

from ntspool.errors import ErrorCode
from ntspool.net.keyexchange import exchange_keys
from ntspool.net.session import Outcome
from ntspool.pool.negotiation import Answer
from ntspool.wire.messages import Refusal, Response, error_refusal
from ntspool.wire.poolprotocol import FixedKeyAnswer
from tests.net.listening import REQUEST, Running
from tests.net.tlsclient import MemoryClient
from tests.pool.test_deferred import own
from tests.waiting import until

COOKIES = tuple(bytes([number]) * 100 for number in range(8))


class Kitchen:
    """Fetches answers when the test says so; `given_up` counts what nobody wants any more."""

    def __init__(self):
        self.orders = []
        self.given_up = 0

    def __call__(self, deferred, deadline, done):
        self.orders.append((deferred, deadline, done))
        return self._give_up

    def _give_up(self):
        self.given_up += 1

    def serve(self):
        for deferred, _, done in self.orders:
            asked = deferred.ask()
            done(asked.answer(FixedKeyAnswer(Response(asked.request.aead, COOKIES, None))))
        self.orders = []


def play(work, pki, **settings):
    async def scene():
        kitchen = Kitchen()
        async with (
            asyncio.timeout(20),
            Running(pki, serving=[own("a", "127.0.0.1")], fetch=kitchen, **settings) as running,
        ):
            await work(running, kitchen)

    asyncio.run(scene())


class Client:
    """A client that has asked: TLS over a blocking socket, driven from threads."""

    def __init__(self, address, pki):
        self.tls = MemoryClient(None, pki.ca).tls
        self.socket = socket.create_connection(address)
        with contextlib.suppress(SSL.WantReadError):
            self.tls.do_handshake()
        self.say()
        while self.tls.get_finished() is None or self.tls.get_peer_finished() is None:
            self.hear()
            with contextlib.suppress(SSL.WantReadError):
                self.tls.do_handshake()
        self.tls.send(REQUEST.encode())
        self.say()

    def say(self):
        self.socket.sendall(self.tls.bio_read(65536))

    def hear(self):
        self.tls.bio_write(self.socket.recv(65536))

    def answer(self):
        said = b""
        while True:
            try:
                said += self.tls.recv(65536)
            except SSL.WantReadError:
                self.hear()
            except SSL.ZeroReturnError:
                return said


async def asking(running, kitchen, pki):
    client = await asyncio.to_thread(Client, running.address, pki)
    await until(lambda: kitchen.orders)
    return client


def test_the_client_waits_for_its_answer_and_gets_it_whole(pki):
    async def work(running, kitchen):
        session = asyncio.create_task(exchange_keys(running.server, REQUEST, 5))
        await until(lambda: kitchen.orders)
        (_, deadline, _), loop = kitchen.orders[0], asyncio.get_running_loop()
        assert 3 < deadline - loop.time() <= 5
        assert not running.reports
        kitchen.serve()
        exchange = await session
        assert (exchange.reply.cookies, exchange.reply.server) == (COOKIES, "127.0.0.1")
        await until(lambda: running.reports)
        [(report, _, seconds)] = running.reports
        assert (report.outcome, report.server_name) == (Outcome.OK, "localhost")
        assert 0 < report.handshake < seconds

    play(work, pki)


def test_many_wait_at_once(pki):
    async def work(running, kitchen):
        sessions = [asyncio.create_task(exchange_keys(running.server, REQUEST, 10)) for _ in range(30)]
        await until(lambda: len(kitchen.orders) == 30)
        kitchen.serve()
        keys = {(await each).association for each in sessions}
        assert len(keys) == 30

    play(work, pki)


def test_a_client_that_has_ended_its_stream_gets_its_answer(pki):
    async def work(running, kitchen):
        client = await asking(running, kitchen, pki)
        client.tls.shutdown()
        client.say()
        client.socket.shutdown(socket.SHUT_WR)
        await asyncio.sleep(0.05)
        assert (running.listener.open_sessions, kitchen.given_up) == (1, 0)
        kitchen.serve()
        said = await asyncio.to_thread(client.answer)
        assert said.count(COOKIES[3]) == 1
        client.socket.close()
        await until(lambda: running.reports)
        assert running.reports[0][0].outcome is Outcome.OK

    play(work, pki)


def test_a_client_that_resets_is_not_waited_for(pki):
    async def work(running, kitchen):
        client = await asking(running, kitchen, pki)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.socket.close()
        await until(lambda: running.listener.open_sessions == 0)
        assert kitchen.given_up == 1
        [(report, _, _)] = running.reports
        assert report.outcome is Outcome.CLOSED
        # Who fetches may be too late to hear of it.
        kitchen.serve()

    play(work, pki)


def test_a_client_that_closes_both_ways_costs_nothing_but_its_answer(pki):
    async def work(running, kitchen):
        client = await asking(running, kitchen, pki)
        client.socket.close()
        await asyncio.sleep(0.05)
        kitchen.serve()
        await until(lambda: running.listener.open_sessions == 0)
        assert len(running.reports) == 1

    play(work, pki)


def test_what_a_client_says_on_top_is_not_listened_to(pki):
    async def work(running, kitchen):
        client = await asking(running, kitchen, pki)
        client.tls.send(REQUEST.encode())
        client.say()
        client.socket.sendall(bytes(10_000))
        await asyncio.sleep(0.05)
        assert len(kitchen.orders) == 1
        kitchen.serve()
        assert (await asyncio.to_thread(client.answer)).count(COOKIES[0]) == 1
        client.socket.close()

    play(work, pki)


def test_at_the_deadline_the_fetching_is_given_up(pki):
    async def work(running, kitchen):
        reply = (await exchange_keys(running.server, REQUEST, 5)).reply
        assert reply == error_refusal(ErrorCode.INTERNAL_SERVER_ERROR)
        await until(lambda: running.reports)
        assert (running.reports[0][0].outcome, kitchen.given_up) == (Outcome.TIMEOUT, 1)
        kitchen.serve()

    play(work, pki, timeout=0.3)


def test_a_refusal_can_be_what_is_fetched(pki):
    async def work(running, kitchen):
        session = asyncio.create_task(exchange_keys(running.server, REQUEST, 5))
        await until(lambda: kitchen.orders)
        deferred, _, done = kitchen.orders[0]
        done(deferred.ask().fail("token refused"))
        exchange = await session
        assert isinstance(exchange.reply, Refusal)
        await until(lambda: running.reports)
        report = running.reports[0][0]
        assert (report.outcome, report.reason) == (Outcome.REFUSED, "token refused")
        assert isinstance(report.answer, Answer)
        assert report.answer.choice.serving.backend.name == "a"

    play(work, pki)


def test_the_listener_waits_for_those_who_wait(pki):
    async def work(running, kitchen):
        session = asyncio.create_task(exchange_keys(running.server, REQUEST, 5))
        await until(lambda: kitchen.orders)
        asyncio.get_running_loop().call_later(0.2, kitchen.serve)
        # Running stops the listener, which waits.
        asyncio.get_running_loop().call_later(0.5, session.cancel)
        assert isinstance((await session).reply, Response)

    play(work, pki)


def test_without_connections_to_backends_the_client_hears_that_at_once(pki):
    async def scene():
        async with Running(pki, serving=[own("a", "127.0.0.1")]) as running:
            exchange = await exchange_keys(running.server, REQUEST, 5)
            assert exchange.reply.code == 2
            await until(lambda: running.reports)
            assert running.reports[0][0].reason == "no backend can be asked for cookies here"

    asyncio.run(scene())
