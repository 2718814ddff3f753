"""The server's end of TLS: the fast way works with what is installed, and without it the public one serves."""

import sys

import pytest
from OpenSSL import SSL
from structlog.testing import capture_logs

from ntspool.net import fastssl
from ntspool.net.fastssl import FastContext
from ntspool.net.servertls import PublicContext, server_context, try_out
from tests.net.tlsclient import make_context


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
