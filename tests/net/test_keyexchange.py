"""The NTS-KE client: what it makes of servers that are not as they should be."""

import asyncio
import os
from datetime import UTC, datetime

import pytest
from OpenSSL import SSL

from ntspool.errors import CertificateError, RemoteError, WireError
from ntspool.net.keyexchange import Server, exchange_keys
from ntspool.net.servertls import server_context
from ntspool.net.session import Session
from ntspool.net.tls import read_certificate
from ntspool.pool.negotiation import Answer, Negotiator
from ntspool.wire.messages import NO_COMMON_AEAD, Request
from tests.conftest import V4, make_serving
from tests.waiting import until

REQUEST = Request((0,), (15,))


async def _serve(behave, talk):
    """Run `talk(host, port)` against a TCP server that calls `behave(reader, writer)`."""
    ended = []

    async def connected(reader, writer):
        try:
            await behave(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()
            ended.append(True)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        try:
            return await talk(*server.sockets[0].getsockname())
        finally:
            await until(lambda: ended)


def _speaking(session_factory):
    async def behave(reader, writer):
        session = session_factory()
        while not session.finished and (data := await reader.read(65536)):
            writer.write(session.receive_data(data))
        writer.write_eof()
        await reader.read()

    return behave


def _exchange(behave, pki, name="localhost", timeout=5.0, ca=None):
    async def talk(host, port):
        return await exchange_keys(Server(host, port, name, ca or pki.ca), REQUEST, timeout)

    return asyncio.run(_serve(behave, talk))


@pytest.fixture
def good(pki):
    context = server_context([pki.certificate])
    return _speaking(lambda: Session(context, Negotiator([make_serving()]), V4.packed, os.urandom))


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "x.pool.test"])
def test_a_good_server_gives_an_association(good, pki, name):
    exchange = _exchange(good, pki, name)
    assert exchange.tls_version == "TLSv1.3"
    assert exchange.cipher.startswith("TLS_")
    assert (exchange.association.aead, len(exchange.reply.cookies)) == (15, 8)


@pytest.mark.parametrize("name", ["elsewhere.test", "127.0.0.2"])
def test_a_certificate_for_another_name_is_refused(good, pki, name):
    with pytest.raises(RemoteError, match=f"the server's certificate is not for {name}"):
        _exchange(good, pki, name)


def test_an_unknown_authority_is_refused(good, pki, tmp_path):
    other = tmp_path / "other.pem"
    type(pki.authority).make(datetime.now(UTC)).write(other)
    with pytest.raises(RemoteError, match="TLS failed: certificate verify failed"):
        _exchange(good, pki, ca=other)


def test_an_expired_certificate_is_refused(pki, tmp_path):
    pair = pki.authority.issue(["localhost"], [], tmp_path, datetime(2020, 1, 1, tzinfo=UTC))
    context = server_context([read_certificate(*pair)])
    with pytest.raises(RemoteError, match="TLS failed"):
        _exchange(_speaking(lambda: Session(context, Negotiator([]), V4.packed, os.urandom)), pki)


def test_an_unusable_ca_is_our_own_fault(tmp_path):
    with pytest.raises(CertificateError):
        asyncio.run(exchange_keys(Server("127.0.0.1", 1, "localhost", tmp_path / "nowhere.pem"), REQUEST, 5))


def test_a_refusal_comes_without_an_association(pki):
    class Refusing(Negotiator):
        def answer(self, *_):
            return Answer(NO_COMMON_AEAD)

    context = server_context([pki.certificate])
    exchange = _exchange(_speaking(lambda: Session(context, Refusing([]), V4.packed, os.urandom)), pki)
    assert exchange.reply == NO_COMMON_AEAD
    assert exchange.association is None


def test_a_server_without_alpn_is_refused(pki):
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(str(pki.chain))
    context.use_privatekey_file(str(pki.key))

    async def behave(reader, writer):
        tls = SSL.Connection(context, None)
        tls.set_accept_state()
        while data := await reader.read(65536):
            tls.bio_write(data)
            try:
                tls.do_handshake()
            except SSL.WantReadError:
                writer.write(tls.bio_read(65536))

    with pytest.raises(WireError, match="does not speak ALPN ntske/1"):
        _exchange(behave, pki)


def test_silence_ends_at_the_timeout(pki):
    async def behave(reader, writer):
        await reader.read()

    with pytest.raises(RemoteError, match=r"no answer within 0\.2 s"):
        _exchange(behave, pki, timeout=0.2)


@pytest.mark.parametrize(
    ("words", "message"), [(b"", "closed the connection"), (b"HTTP/1.0 400 Bad Request\r\n\r\n", "TLS failed")]
)
def test_what_is_no_tls_is_told(pki, words, message):
    async def behave(reader, writer):
        await reader.read(100)
        writer.write(words)

    with pytest.raises(RemoteError, match=message):
        _exchange(behave, pki)


@pytest.mark.parametrize(
    ("host", "words"), [("127.0.0.1", "port 1: Connection refused"), ("nowhere.invalid", "Name or service not known")]
)
def test_no_connection_is_told_in_the_systems_words(pki, host, words):
    with pytest.raises(RemoteError, match=words):
        asyncio.run(exchange_keys(Server(host, 1, host, pki.ca), REQUEST, 5))
