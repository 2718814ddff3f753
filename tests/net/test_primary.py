"""A DNS server that does not do as it should: whatever it says or does not say, the reason is told."""

import asyncio
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.tsig
import pytest

from ntspool.errors import RemoteError
from ntspool.net.primary import connected
from ntspool.net.tsig import TsigKey
from ntspool.pool.publishing import Change, Found, Key, Kind
from ntspool.wire.secret import Secret

NAME = Key("pool.example", Kind.A)
WITH = TsigKey("pool", "hmac-sha256", Secret(b"s" * 32))
KEY = WITH.opened()
OTHER = dns.tsig.Key(dns.name.from_text("pool"), b"t" * 32, dns.tsig.HMAC_SHA256)
ADD = Change(NAME, frozenset({"192.0.2.1"}), frozenset(), None)


@asynccontextmanager
async def serving(reply):
    """Serve until all have left: `reply(query)` is the raw message, empty for nothing, None for closing."""

    serving = []

    async def serve(reader, writer):
        serving.append(asyncio.current_task())
        try:
            while size := await reader.read(2):
                query = dns.message.from_wire(await reader.readexactly(int.from_bytes(size, "big")), keyring=KEY)
                if (raw := reply(query)) is None:
                    break
                writer.write(raw and len(raw).to_bytes(2, "big") + raw)
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[:2]
    await asyncio.gather(*serving)


def answer(query, code=dns.rcode.NOERROR, key=KEY, flags=dns.flags.AA):
    response = dns.message.make_response(query)
    response.set_rcode(code)
    response.flags |= flags
    response.tsig = None
    if key is not None:
        response.use_tsig(key)
        response.request_mac = query.mac
    return response.to_wire()


def asked(reply, deadline=5.0):
    async def ask():
        async with serving(reply) as where, connected(where, WITH, deadline) as primary:
            return (await primary.read([NAME]))[NAME]

    return asyncio.run(ask())


def changed(reply):
    async def change():
        async with serving(reply) as where, connected(where, WITH, 5.0) as primary:
            return await primary.change("example", ADD, 60)

    return asyncio.run(change())


def test_no_records_and_no_name_are_told_apart():
    assert asked(answer) == Found(taken=True)
    assert asked(lambda query: answer(query, dns.rcode.NXDOMAIN)) == Found()


def other_question(query):
    response = dns.message.make_response(dns.message.make_query("other.example", "A", id=query.id))
    response.use_tsig(KEY)
    response.request_mac = query.mac
    return response.to_wire()


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (lambda query: None, "it closed the connection"),
        (lambda query: bytes(1), "what it sent is no DNS response, or not signed as it must be"),
        (lambda query: bytes(40), "what it sent is no DNS response, or not signed as it must be"),
        (other_question, "what it sent is no answer to what it was asked"),
        (lambda query: answer(query, flags=0), "it is no authority for pool.example"),
        (lambda query: answer(query, key=None), "not signed"),
        (lambda query: answer(query, key=OTHER), "not signed as it must be"),
        (lambda query: answer(query, dns.rcode.SERVFAIL), "SERVFAIL"),
        (lambda query: answer(query, dns.rcode.REFUSED), "REFUSED: it does not let the key pool do that"),
        # PowerDNS does not sign this one, nor say which of the three it is.
        (
            lambda query: answer(query, dns.rcode.NOTAUTH, key=None),
            "NOTAUTH: it is not the zone's primary, does",
        ),
    ],
)
def test_what_is_wrong_is_told(reply, reason):
    for ask in (asked, changed):
        if reason.startswith("it is no authority") and ask is changed:
            continue
        with pytest.raises(RemoteError, match=reason):
            ask(reply)


def test_one_that_says_nothing_is_waited_for_no_longer_than_stated():
    with pytest.raises(RemoteError, match="no answer"):
        asked(lambda query: b"", deadline=0.1)


@pytest.mark.parametrize("code", [dns.rcode.NXRRSET, dns.rcode.YXDOMAIN, dns.rcode.YXRRSET, dns.rcode.NXDOMAIN])
def test_a_prerequisite_that_does_not_hold_is_no_trouble(code):
    assert changed(lambda query: answer(query, code)) is False


def test_a_server_that_is_not_there_is_told():
    async def ask():
        async with serving(answer) as where:
            pass
        async with connected(where, WITH, 5.0):
            raise AssertionError

    with pytest.raises(RemoteError, match="Connection refused"):
        asyncio.run(ask())
