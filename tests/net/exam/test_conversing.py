"""One connection of an examiner: what is seen of servers, most of which are not as they should be."""

import asyncio
from contextlib import suppress

import pytest
from OpenSSL import SSL

from ntspool.net.exam import conversing
from ntspool.net.exam.conversing import Greeting, converse
from ntspool.net.tls import certificate_context
from ntspool.pool.exam.conversation import Ending, Kind, Reached
from ntspool.pool.exam.odd import ORDINARY, cases
from ntspool.wire.aead import Aead
from ntspool.wire.records import END_OF_MESSAGE
from tests.net.exam.service import Service, serving
from tests.pool.exam.seen import answered

BIG = next(each for each in cases("localhost") if each.id == "ke.oversized").pieces


def seen_of(behave, pieces=(ORDINARY,), greeting=None, timeout=2.0):
    """Return what is seen of a TCP server that calls `behave(reader, writer)`."""

    async def connected(reader, writer):
        # In the end those are cancelled who would never have ended.
        with suppress(OSError, asyncio.CancelledError):
            await behave(reader, writer)
        writer.close()

    async def run():
        async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await converse("127.0.0.1", port, greeting or Greeting("localhost"), pieces, timeout)

    return asyncio.run(run())


def speaking(certificate, *words, end):
    """Return the behaviour of a TLS server that says `words` once it was spoken to, then does `end(tls, writer)`."""

    async def behave(reader, writer):
        tls = SSL.Connection(certificate_context(certificate), None)
        tls.set_accept_state()

        async def turn(act, *arguments):
            while True:
                try:
                    return act(*arguments)
                except SSL.WantReadError:
                    with suppress(SSL.WantReadError):
                        writer.write(tls.bio_read(65536))
                    tls.bio_write(await reader.read(65536) or b"")

        await turn(tls.do_handshake)
        await turn(tls.recv, 65536)
        for each in words:
            tls.send(each)
        await end(tls, writer)
        with suppress(SSL.WantReadError):
            writer.write(tls.bio_read(65536))
        await writer.drain()

    return behave


async def say_goodbye(tls, _):
    tls.shutdown()


async def say_nothing(_tls, _writer):
    return


async def stay(tls, writer):
    writer.write(tls.bio_read(65536))
    await asyncio.sleep(3600)


async def talk_on(tls, writer):
    """Send more than anybody wants, without an end."""
    with suppress(OSError):
        while True:
            tls.send(b"\0\x63\xff\xff" + bytes(16000))
            writer.write(tls.bio_read(65536))
            await writer.drain()


def test_all_is_seen_of_a_good_server(pki):
    with serving(Service(), pki.certificate) as port:
        greeting = Greeting("localhost", verify=True, ca=pki.ca)
        seen = asyncio.run(converse("127.0.0.1", port, greeting, (ORDINARY,), 5))
    assert (seen.reached, seen.failure, seen.version) == (Reached.TLS, "", "TLSv1.3")
    assert (seen.alpn, seen.trouble, len(seen.chain)) == ("ntske/1", (), 1)
    assert (seen.ending, seen.unprompted, seen.pieces) == (Ending.CLOSE_NOTIFY, True, 1)
    assert seen.outcome.kind is Kind.COOKIES
    (keys,) = seen.keys
    assert keys.aead is Aead.AES_SIV_CMAC_256
    assert keys.c2s.reveal().hex() not in repr(seen)


@pytest.mark.parametrize(
    ("end", "ending"),
    [(say_goodbye, Ending.CLOSE_NOTIFY), (say_nothing, Ending.CLOSED), (stay, Ending.OPEN)],
)
def test_the_end_is_told(pki, end, ending):
    seen = seen_of(speaking(pki.certificate, answered().data[:50], answered().data[50:], end=end))
    assert (seen.ending, seen.pieces, seen.unprompted) == (ending, 2, ending is not Ending.OPEN)
    assert seen.outcome.kind is Kind.COOKIES


def test_data_after_the_end_of_the_message_is_seen(pki):
    seen = seen_of(speaking(pki.certificate, answered().data, b"more", end=say_goodbye))
    assert seen.answer.rest == b"more"


def test_half_an_answer_is_waited_for_until_the_timeout(pki):
    seen = seen_of(speaking(pki.certificate, answered().data[:50], end=stay), timeout=0.5)
    assert (seen.ending, seen.answered, seen.outcome.kind) == (Ending.OPEN, None, Kind.MALFORMED)


def test_an_endless_answer_is_not_listened_to(pki):
    seen = seen_of(speaking(pki.certificate, end=talk_on))
    assert seen.outcome.kind is Kind.MALFORMED
    assert len(seen.data) < 1 << 18


def test_who_speaks_unasked_is_seen(pki):
    with serving(Service(), pki.certificate) as port:
        # Nothing is said to it, so it has to give up first.
        seen = asyncio.run(converse("127.0.0.1", port, Greeting("localhost"), (), 0.3))
    assert (seen.reached, seen.early, seen.outcome.kind) == (Reached.TLS, 0, Kind.HANGS)


def test_a_long_request_to_who_does_not_read_ends_in_time(pki):
    async def deaf(reader, writer):
        tls = SSL.Connection(certificate_context(pki.certificate), None)
        tls.set_accept_state()
        with suppress(SSL.WantReadError):
            tls.bio_write(await reader.read(65536))
            tls.do_handshake()
        writer.write(tls.bio_read(65536))
        reader._transport.pause_reading()
        await asyncio.sleep(3600)

    seen = seen_of(deaf, pieces=BIG * 200, timeout=0.5)
    assert seen.outcome.kind is Kind.HANGS


@pytest.mark.parametrize("words", [b"HTTP/1.0 400 Bad Request\r\n\r\n", END_OF_MESSAGE.encode() * 2])
def test_what_is_no_tls_is_told(words):
    async def behave(reader, writer):
        await reader.read(100)
        writer.write(words)
        await writer.drain()

    seen = seen_of(behave)
    assert (seen.reached, seen.ending) == (Reached.TCP, Ending.ALERT)
    assert seen.failure.startswith("TLS failed")


def test_the_trouble_with_a_certificate_is_collected(pki):
    with serving(Service(), pki.certificate) as port:
        seen = asyncio.run(converse("127.0.0.1", port, Greeting("localhost", verify=True), (ORDINARY,), 5))
    assert seen.trouble == ("the issuer of CN=localhost is neither sent nor among the authorities",)
    assert seen.outcome.kind is Kind.COOKIES


@pytest.mark.parametrize("error", [AttributeError, NotImplementedError])
def test_a_library_that_cannot_tell_the_group_says_nothing_of_it(error):
    class Silent:
        def get_group_name(self):
            raise error

    assert conversing._group(Silent()) is None
