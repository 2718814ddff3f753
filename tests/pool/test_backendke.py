"""ntspool/pool/backendke.py: what a backend's own NTS-KE server gives to whom."""

from dataclasses import replace
from itertools import count

import pytest

from ntspool.errors import ErrorCode
from ntspool.pool.backendke import BackendKe
from ntspool.pool.cookies import Association, CookieFormat, CookieJar, ServerKey
from ntspool.wire.aead import Aead
from ntspool.wire.messages import NO_COMMON_AEAD, NO_COMMON_PROTOCOL, Request, error_refusal
from ntspool.wire.poolprotocol import FixedKeyRequest, Support, SupportQuery
from ntspool.wire.secret import Secret

JAR = CookieJar(CookieFormat.NTSPOOL, [ServerKey(1, Secret(bytes(32)))], 0)
TOKENS = (Secret(b"a" * 32), Secret(b"b" * 32))
NUMBERS = count()
KE = BackendKe(JAR, TOKENS, 4123, lambda length: next(NUMBERS).to_bytes(length, "big"))
BAD_REQUEST = error_refusal(ErrorCode.BAD_REQUEST)


def fixed(aead=Aead.AES_SIV_CMAC_256, token=TOKENS[0], **more):
    return FixedKeyRequest(token, aead, Secret(b"\1" * aead.key_length), Secret(b"\2" * aead.key_length), **more)


@pytest.mark.parametrize("aead", Aead)
@pytest.mark.parametrize("token", TOKENS)
def test_eight_cookies_with_the_keys_that_the_pool_names(aead, token):
    answer = KE.pool(fixed(aead, token), keep_alive=True)
    association = Association(aead, Secret(b"\1" * aead.key_length), Secret(b"\2" * aead.key_length))
    assert [JAR.open(cookie) for cookie in answer.response.cookies] == [association] * 8
    assert len(set(answer.response.cookies)) == 8
    assert (answer.response.aead, answer.response.server, answer.response.port) == (aead, None, 4123)
    assert answer.keep_alive
    assert not KE.pool(fixed(aead, token), keep_alive=False).keep_alive


def test_what_is_supported():
    answer = Support((0,), ((15, 32), (17, 64), (30, 16)), keep_alive=True)
    assert KE.pool(SupportQuery(TOKENS[1]), keep_alive=True) == answer
    assert answer.usable_aeads == set(Aead)
    only = KE.pool(SupportQuery(TOKENS[1], aeads=False), keep_alive=False)
    assert only == Support((0,), None)


@pytest.mark.parametrize("token", [None, "", "a", "a" * 31, "a" * 33, "a" * 31 + "b", "é" * 16, "\0"])
def test_strangers_get_an_error(token):
    token = None if token is None else Secret(token.encode())
    for question in (SupportQuery(token), fixed(token=token)):
        assert KE.pool(question, keep_alive=True) == BAD_REQUEST
    assert replace(KE, tokens=()).pool(fixed(), keep_alive=True) == BAD_REQUEST


def test_every_token_is_compared(monkeypatch):
    compared = []
    monkeypatch.setattr("ntspool.wire.secret.compare_digest", lambda *pair: compared.append(pair) or True)
    KE.pool(SupportQuery(TOKENS[0]), keep_alive=True)
    assert compared == [(TOKENS[0].reveal(), each.reveal()) for each in TOKENS]


def test_what_it_does_not_know():
    assert KE.pool(fixed(protocol=0x8001), keep_alive=True) == NO_COMMON_PROTOCOL
    unknown = FixedKeyRequest(TOKENS[0], 16, Secret(bytes(48)), Secret(bytes(48)))
    assert KE.pool(unknown, keep_alive=True) == NO_COMMON_AEAD


def export(context, length):
    return (context * length)[:length]


@pytest.mark.parametrize(
    ("offered", "compliant", "aead"),
    [((15,), False, 15), ((17, 15), False, 17), ((30, 15), True, 30), ((30, 15), False, 15)],
)
def test_ordinary_clients_get_cookies_with_their_sessions_keys(offered, compliant, aead):
    response = KE.client(Request((0,), offered, compliant), export)
    assert (response.aead, response.port, response.compliant_128gcm) == (aead, 4123, compliant)
    stem = bytes([0, 0, 0, aead])
    length = Aead(aead).key_length
    association = Association(Aead(aead), Secret(export(stem + b"\0", length)), Secret(export(stem + b"\1", length)))
    assert [JAR.open(cookie) for cookie in response.cookies] == [association] * 8


def test_port_123_goes_without_saying():
    assert replace(KE, port=123).client(Request((0,), (15,)), export).port is None


def test_clients_that_share_nothing_with_it():
    assert KE.client(Request((1,), (15,)), export) == NO_COMMON_PROTOCOL
    assert KE.client(Request((0,), (16, 30)), export) == NO_COMMON_AEAD


def test_no_secret_is_shown():
    assert TOKENS[0].reveal().decode() not in repr(KE)
