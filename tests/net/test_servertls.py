"""The server's end of TLS: the fast way works with what is installed, and without it the public one serves."""

import sys
from contextlib import suppress

import pytest
from OpenSSL import SSL
from structlog.testing import capture_logs

from ntspool.errors import WireError
from ntspool.net import fastssl
from ntspool.net.fastssl import FastContext
from ntspool.net.servertls import PublicContext, contexts_by_name, server_context, try_out
from ntspool.net.tls import ALPN_NTSKE
from tests.net.tlsclient import make_context

ALERT = 21


def test_the_installed_pyopenssl_has_what_the_fast_way_needs(pki):
    with capture_logs() as logs:
        context = server_context([pki.certificate])
    assert not logs, "an upgrade has moved what fastssl.py leans on"
    assert isinstance(context, FastContext)


HAS_PUBLIC = pytest.mark.skipif(
    not hasattr(SSL.Connection, "set_options"), reason="with this pyOpenSSL there is no public way"
)


@HAS_PUBLIC
@pytest.mark.parametrize("name", ["SSL_read", "SSL_CTX_set_alpn_select_cb", "BIO_read"])
def test_where_the_bindings_have_moved_the_public_way_serves_and_the_log_says_so(pki, monkeypatch, name):
    class Moved:
        def __getattr__(self, asked):
            if asked == name:
                raise AttributeError(f"no {asked}")
            return getattr(fastssl_lib, asked)

    fastssl_lib = fastssl.lib
    monkeypatch.setattr(fastssl, "lib", Moved())
    with capture_logs() as logs:
        context = server_context([pki.certificate])
    assert isinstance(context, PublicContext)
    assert [entry["log_level"] for entry in logs] == ["warning"]
    try_out(context)


def test_where_the_bindings_are_gone_altogether_the_public_way_serves(pki, monkeypatch):
    monkeypatch.setitem(sys.modules, "ntspool.net.fastssl", None)
    with capture_logs() as logs:
        assert isinstance(server_context([pki.certificate]), PublicContext)
    assert len(logs) == 1


@HAS_PUBLIC
@pytest.mark.parametrize("broken", ["export", "server_name", "data_to_send", "send_last"])
def test_an_end_that_does_otherwise_than_it_must_is_found_out(pki, broken):
    def context():
        end = make_context("public", [pki.certificate])()
        return Wrong(end)

    class Wrong:
        def __init__(self, end):
            self._end = end

        def __getattr__(self, name):
            return (lambda *_: b"else") if name == broken else getattr(self._end, name)

    with pytest.raises((RuntimeError, SSL.Error)):
        try_out(context)


@pytest.mark.parametrize("way", ["fast", pytest.param("public", marks=HAS_PUBLIC)])
def test_the_trial_passes_both_ways(pki, way):
    try_out(make_context(way, [pki.certificate]))


CAN_OFFER = pytest.mark.skipif(
    not hasattr(SSL.Context, "set_tls13_ciphersuites"), reason="this pyOpenSSL cannot say what a client offers"
)


def client_that_offers(suites):
    """Return a client in memory, and its ClientHello."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_tls13_ciphersuites(suites)
    context.set_alpn_protos([ALPN_NTSKE])
    client = SSL.Connection(context, None)
    client.set_connect_state()
    with suppress(SSL.WantReadError):
        client.do_handshake()
    return client, client.bio_read(1 << 16)


@CAN_OFFER
@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        (b"TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
        (b"TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
        (b"TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
    ],
)
def test_a_client_without_the_first_choice_of_ciphers_is_served_by_the_others(pki, offered, taken):
    otherwise = FastContext(*contexts_by_name([pki.certificate]))
    server = FastContext(*contexts_by_name([pki.certificate], only_aes_128=True), otherwise)()
    client, hello = client_that_offers(offered)
    assert server.receive_data(hello[:100]) == b""
    assert server.receive_data(hello[100:]) == b""
    client.bio_write(server.data_to_send())
    client.do_handshake()
    client.send(b"request")
    assert server.receive_data(client.bio_read(1 << 16)) == b"request"
    assert client.get_cipher_name() == taken


@CAN_OFFER
def test_where_no_cipher_is_shared_at_all_the_session_fails(pki):
    only_aes_128 = FastContext(*contexts_by_name([pki.certificate], only_aes_128=True))
    server = FastContext(*contexts_by_name([pki.certificate], only_aes_128=True), only_aes_128)()
    _, hello = client_that_offers(b"TLS_AES_256_GCM_SHA384")
    with pytest.raises(WireError, match="no shared cipher"):
        server.receive_data(hello)
    assert server.data_to_send()[0] == ALERT
