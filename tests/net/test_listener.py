"""The listener with real sockets: deadlines, limits, descriptors, and clients that misbehave."""

import asyncio
import contextlib
import os
import resource
import socket
import time

import pytest
from OpenSSL import SSL
from structlog.testing import capture_logs

from ntspool.net import roster
from ntspool.net.keyexchange import exchange_keys
from ntspool.net.listener import _Listening
from ntspool.net.session import Outcome
from ntspool.pool.limits import TurnedAway
from ntspool.wire.messages import Response
from tests.abuse.attacks import empty_records, endless_requests, key_updates, key_updates_after_the_request
from tests.abuse.hellos import client_hello, records
from tests.net.listening import REQUEST, Running
from tests.net.tlsclient import MemoryClient
from tests.waiting import until


@pytest.mark.parametrize(("host", "given"), [("127.0.0.1", "192.0.2.1"), ("::1", "2001:db8::1")])
def test_a_client_gets_a_backend_of_its_family(pki, host, given):
    async def scene():
        async with Running(pki, host=host) as running:
            exchange = await exchange_keys(running.server, REQUEST, 5)
            await until(lambda: running.reports)
            return exchange, running.reports

    exchange, [(report, peer, seconds)] = asyncio.run(scene())
    assert isinstance(exchange.reply, Response)
    assert exchange.reply.server == given
    assert (report.outcome, peer) == (Outcome.OK, host)
    assert 0 < report.handshake < seconds < 5


def test_many_clients_at_once_are_all_served(pki):
    async def scene():
        async with Running(pki) as running:
            exchanges = await asyncio.gather(*(exchange_keys(running.server, REQUEST, 20) for _ in range(60)))
            return [exchange.reply for exchange in exchanges]

    assert all(isinstance(reply, Response) for reply in asyncio.run(scene()))


def test_a_silent_client_is_dropped_at_the_deadline_and_not_reported(pki):
    async def scene():
        async with Running(pki, timeout=0.2) as running:
            reader, writer = await asyncio.open_connection(*running.address)
            assert await reader.read() == b""
            writer.close()
            return running.reports

    assert asyncio.run(scene()) == []


def test_a_client_that_stops_in_the_handshake_is_reported_as_timeout(pki):
    async def scene():
        async with Running(pki, timeout=0.2) as running:
            reader, writer = await asyncio.open_connection(*running.address)
            writer.write(bytes.fromhex("1603010200010001fc0303"))
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
            await until(lambda: running.reports)
            return running.reports

    [(report, _, seconds)] = asyncio.run(scene())
    assert report.outcome is Outcome.TIMEOUT
    assert seconds >= 0.2


def test_beyond_the_limit_clients_are_closed_before_tls_and_others_served_later(pki):
    async def scene():
        async with Running(pki, limit=2) as running:
            holders = [await asyncio.open_connection(*running.address) for _ in range(2)]
            await until(lambda: running.listener.open_sessions == 2)
            reader, writer = await asyncio.open_connection(*running.address)
            assert await reader.read() == b""
            for each in (writer, *(writer for _, writer in holders)):
                each.close()
            await until(lambda: running.listener.open_sessions == 0)
            return (await exchange_keys(running.server, REQUEST, 5)).reply

    assert isinstance(asyncio.run(scene()), Response)


def test_when_every_place_is_taken_by_the_idle_whoever_comes_gets_the_place_of_the_oldest(pki, monkeypatch):
    monkeypatch.setattr(roster, "GREETING_GRACE", 0.0)

    async def scene():
        async with Running(pki, limit=3) as running:
            idle = []
            for _ in range(3):
                idle.append(await asyncio.open_connection(*running.address))
                await until(lambda: running.listener.open_sessions == len(idle))
            idle[0][1].write(records(client_hello())[:50])
            replies = [(await exchange_keys(running.server, REQUEST, 5)).reply for _ in range(2)]
            assert await idle[0][0].read() == b""
            assert not idle[1][0].at_eof()
            for _, writer in idle:
                writer.close()
            return replies, running.admission.take_counts()

    replies, counts = asyncio.run(scene())
    assert all(isinstance(reply, Response) for reply in replies)
    assert counts == {TurnedAway.SESSIONS: 1}


def test_a_place_that_is_taken_in_the_handshake_is_told_and_the_client_hears_nothing_more(pki, monkeypatch):
    monkeypatch.setattr(roster, "SESSION_GRACE", 0.0)

    async def scene():
        async with Running(pki, limit=1) as running:
            reader, writer = await asyncio.open_connection(*running.address)
            writer.write(records(client_hello()))
            flight = await reader.read(1 << 14)
            reply = (await exchange_keys(running.server, REQUEST, 5)).reply
            rest = await reader.read()
            writer.close()
            return flight, rest, reply, running.reports[0][0]

    flight, rest, reply, report = asyncio.run(scene())
    assert flight
    assert rest == b""
    assert isinstance(reply, Response)
    assert (report.outcome, report.reason) == (Outcome.TIMEOUT, "its place was needed")


@pytest.mark.parametrize("attack", [key_updates, key_updates_after_the_request, empty_records, endless_requests])
def test_what_a_client_sends_without_end_is_not_heard_without_end(pki, attack):
    def client(address):
        with socket.socket() as sock:
            sock.connect_ex(address)
            sent = 0
            with contextlib.suppress(ConnectionError):
                for piece in attack(sock, 1):
                    sock.sendall(piece)
                    sent += len(piece)
            return sent

    async def scene():
        async with Running(pki, timeout=20) as running:
            await asyncio.to_thread(client, running.address)
            await until(lambda: running.reports)
            return running.reports

    began = time.monotonic()
    [(report, _, _)] = asyncio.run(scene())
    assert report.outcome is not Outcome.TIMEOUT
    assert time.monotonic() - began < 15


def test_without_descriptors_it_waits_and_goes_on(pki):
    async def scene():
        async with Running(pki) as running:
            waiting = [socket.socket() for _ in range(3)]
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            lowest = os.dup(0)
            os.close(lowest)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
            try:
                with capture_logs() as logs:
                    for each in waiting:
                        each.setblocking(False)
                        await asyncio.get_running_loop().sock_connect(each, running.address)
                    await until(lambda: any(entry["event"] == "accept paused" for entry in logs))
                assert running.listener.open_sessions == 0
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await until(lambda: running.listener.open_sessions == 3)
            for each in waiting:
                each.close()
            return (await exchange_keys(running.server, REQUEST, 5)).reply

    assert isinstance(asyncio.run(scene()), Response)


def test_a_client_that_resets_or_talks_on_after_its_answer_harms_nobody(pki):
    async def scene():
        async with Running(pki) as running:
            for data in (b"", b"GET / HTTP/1.0\r\n\r\n", os.urandom(5000)):
                _, writer = await asyncio.open_connection(*running.address)
                writer.write(data)
                writer.transport.abort()
            await until(lambda: running.listener.open_sessions == 0)
            return (await exchange_keys(running.server, REQUEST, 5)).reply

    assert isinstance(asyncio.run(scene()), Response)


def test_an_answer_is_not_overtaken_by_a_reset_when_the_client_has_ended_its_stream_before(pki):
    def client(address):
        tls = MemoryClient(None, pki.ca).tls
        with socket.create_connection(address) as sock:
            with contextlib.suppress(SSL.WantReadError):
                tls.do_handshake()
            sock.sendall(tls.bio_read(1 << 16))
            while True:
                tls.bio_write(sock.recv(1 << 16))
                with contextlib.suppress(SSL.WantReadError):
                    tls.do_handshake()
                    break
            tls.send(REQUEST.encode())
            tls.shutdown()
            sock.sendall(tls.bio_read(1 << 16))
            sock.shutdown(socket.SHUT_WR)
            said = b""
            while data := sock.recv(1 << 16):
                said += data
            return said

    async def scene():
        async with Running(pki) as running:
            said = await asyncio.to_thread(client, running.address)
            await until(lambda: running.listener.open_sessions == 0)
            return said, running.reports

    said, [(report, _, _)] = asyncio.run(scene())
    assert report.outcome is Outcome.OK
    assert len(said) > 8 * 100


def test_what_the_client_does_not_take_at_once_is_sent_later(pki):
    async def scene():
        async with Running(pki) as running:
            return (await exchange_keys(running.server, REQUEST, 5)).reply

    class Sending(socket.socket):
        """Takes seven bytes at a time, and every other time none."""

        made = []  # noqa: RUF012

        def send(self, data, flags=0):
            self.made.append(len(data))
            if len(self.made) % 2:
                raise BlockingIOError
            return super().send(data[:7], flags & ~socket.MSG_MORE)

    accept = _Listening.accept

    def accepting(self):
        accepted, peer = accept(self)
        return Sending(fileno=accepted.detach()), peer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Listening, "accept", accepting)
        assert isinstance(asyncio.run(scene()), Response)
    assert len(Sending.made) > 100


def test_stop_lets_running_sessions_end(pki):
    async def scene():
        running = Running(pki, timeout=0.3)
        async with running:
            _, writer = await asyncio.open_connection(*running.address)
            await until(lambda: running.listener.open_sessions == 1)
        writer.close()
        return running.listener.open_sessions

    assert asyncio.run(scene()) == 0
