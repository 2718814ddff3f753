"""Cookies and key files against the daemons whose bytes they are: they load, open and mint the same."""

import os
import time
from functools import partial

import pytest

from ntspool.pool.cookies import (
    NONCE_LENGTH,
    SERVER_AEAD,
    Association,
    CookieFormat,
    CookieJar,
    CookieKey,
    ServerKey,
    key_id,
)
from ntspool.pool.keyfiles import KeySet, parse, render, render_chrony_nks1
from ntspool.pool.nts import Refusal, Refused, Response, build_request, read_response
from ntspool.wire.aead import Aead
from ntspool.wire.secret import Secret
from tests.interop.daemons import DEADLINE, chronyd, ntpd_rs, ntpsec

SIV_256, SIV_512, GCM_SIV = Aead.AES_SIV_CMAC_256, Aead.AES_SIV_CMAC_512, Aead.AES_128_GCM_SIV
chronyd_new = partial(chronyd, program="chronyd-new")

DAEMONS = pytest.mark.parametrize(
    ("cookie_format", "daemon", "aeads"),
    [
        pytest.param(CookieFormat.CHRONY, chronyd, (SIV_256,), id="chronyd"),
        pytest.param(CookieFormat.CHRONY, chronyd_new, (SIV_256, GCM_SIV), id="chronyd-new"),
        pytest.param(CookieFormat.NTPSEC, ntpsec, (SIV_256, SIV_512), id="ntpsec"),
        pytest.param(CookieFormat.NTPD_RS, ntpd_rs, (SIV_256, SIV_512), id="ntpd-rs"),
    ],
)


def new_keys(cookie_format):
    length = SERVER_AEAD[cookie_format].key_length
    # The ids wrap around between the second and the third key.
    ids = (0xFFFFFFFE, 0xFFFFFFFF, 0, 1)
    return KeySet(tuple(ServerKey(each, Secret(os.urandom(length))) for each in ids), current=2)


def new_association(aead):
    return Association(aead, Secret(os.urandom(aead.key_length)), Secret(os.urandom(aead.key_length)))


def mint(cookie_format, key, association):
    return CookieKey(cookie_format, key).mint(association, os.urandom(NONCE_LENGTH))


def ask(server, association, cookie, placeholders=0):
    request = build_request(
        association,
        cookie,
        unique_id=os.urandom(32),
        nonce=os.urandom(association.aead.nonce_length),
        placeholders=placeholders,
        transmit_timestamp=int.from_bytes(os.urandom(8), "big"),
    )
    response = server.exchange(request.data, timeout=1.0)
    return None if response is None else read_response(request, response)


def check_served(server, cookie_format, keys):
    """See cookies under each of `keys` accepted, and those that come back minted under the current one."""
    association = new_association(SIV_256)
    jar = CookieJar(cookie_format, keys.keys, keys.current)
    for key in keys.keys:
        response = ask(server, association, mint(cookie_format, key, association))
        assert isinstance(response, Response), (key, response)
        assert [key_id(cookie_format, cookie) for cookie in response.cookies] == [keys.keys[keys.current].id]
        assert jar.open(response.cookies[0]) == association


@DAEMONS
def test_the_daemon_opens_our_cookies_and_we_open_its(cookie_format, daemon, aeads):
    keys = new_keys(cookie_format)
    current = CookieKey(cookie_format, keys.keys[keys.current])
    with daemon(render(cookie_format, keys, int(time.time()))) as server:
        for aead in aeads:
            for key in keys.keys:
                association = new_association(aead)
                ours = mint(cookie_format, key, association)
                response = ask(server, association, ours, placeholders=2)
                assert isinstance(response, Response), (aead, key, response)
                assert [len(cookie) for cookie in response.cookies] == [len(ours)] * 3
                assert [current.open(cookie) for cookie in response.cookies] == [association] * 3
                assert isinstance(ask(server, association, response.cookies[0]), Response)


@DAEMONS
def test_a_cookie_of_the_daemon_has_exactly_the_bytes_that_we_mint(cookie_format, daemon, aeads):
    keys = new_keys(cookie_format)
    current = keys.keys[keys.current]
    nonce_at = 6 if cookie_format is CookieFormat.NTPD_RS else 4
    with daemon(render(cookie_format, keys, int(time.time()))) as server:
        for aead in aeads:
            association = new_association(aead)
            (theirs,) = ask(server, association, mint(cookie_format, current, association)).cookies
            nonce = theirs[nonce_at : nonce_at + NONCE_LENGTH]
            assert CookieKey(cookie_format, current).mint(association, nonce) == theirs


@DAEMONS
def test_the_daemon_refuses_a_cookie_under_a_key_that_it_does_not_have(cookie_format, daemon, aeads):
    keys = new_keys(cookie_format)
    stranger = ServerKey(keys.keys[2].id, Secret(os.urandom(len(keys.keys[2].secret.reveal()))))
    # NTPsec says nothing; the others answer with an NTS NAK.
    refusal = None if cookie_format is CookieFormat.NTPSEC else Refused(Refusal.NAK, "NTSN")
    with daemon(render(cookie_format, keys, int(time.time()))) as server:
        for aead in aeads:
            association = new_association(aead)
            assert ask(server, association, mint(cookie_format, stranger, association)) == refusal


@pytest.mark.parametrize("daemon", [chronyd, chronyd_new], ids=["chronyd", "chronyd-new"])
def test_chronyd_changes_keys_while_it_runs(daemon):
    before, after = new_keys(CookieFormat.CHRONY), new_keys(CookieFormat.CHRONY)
    with daemon(render(CookieFormat.CHRONY, before, 0)) as server:
        check_served(server, CookieFormat.CHRONY, before)
        server.key_file.write_bytes(render(CookieFormat.CHRONY, after, 0))
        assert "200 OK" in server.chronyc("rekey")
        check_served(server, CookieFormat.CHRONY, after)


def test_a_newer_chronyd_loads_nks1():
    keys = new_keys(CookieFormat.CHRONY)
    with chronyd_new(render_chrony_nks1(keys)) as server:
        check_served(server, CookieFormat.CHRONY, keys)


@pytest.mark.parametrize(
    ("cookie_format", "daemon", "count"),
    [
        pytest.param(CookieFormat.CHRONY, partial(chronyd, extra="ntsrotate 600"), 4, id="chronyd"),
        pytest.param(CookieFormat.CHRONY, partial(chronyd_new, extra="ntsrotate 600"), 4, id="chronyd-new"),
        pytest.param(CookieFormat.NTPSEC, ntpsec, 1, id="ntpsec"),
        pytest.param(CookieFormat.NTPD_RS, ntpd_rs, 1, id="ntpd-rs"),
    ],
)
def test_the_keys_that_a_daemon_makes_for_itself_are_read_as_it_means_them(cookie_format, daemon, count):
    deadline = time.monotonic() + DEADLINE
    with daemon() as server:
        while not server.key_file.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        keys = parse(cookie_format, server.key_file.read_bytes())
        assert len(keys.keys) == count
        # A newer chronyd's own keys are of AEAD 30, which we export to no daemon and so do not mint with.
        if len(keys.keys[0].secret.reveal()) == SERVER_AEAD[cookie_format].key_length:
            check_served(server, cookie_format, keys)
