"""ntspool/pool/negotiation.py: a client can use its answer at the backend that it names, and nowhere else."""

from collections import Counter
from ipaddress import ip_address
from itertools import product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import ErrorCode, WireError
from ntspool.pool.cookies import (
    CLIENT_AEADS,
    NONCE_LENGTH,
    SERVER_AEAD,
    Association,
    CookieFormat,
    CookieKey,
    ServerKey,
)
from ntspool.pool.model import Backend, Serving
from ntspool.pool.negotiation import RANDOM_LENGTH, Answer, Negotiator
from ntspool.wire.aead import Aead
from ntspool.wire.exchange import ClientExchange, ServerExchange
from ntspool.wire.messages import NO_COMMON_AEAD, NO_COMMON_PROTOCOL, Request, error_refusal
from ntspool.wire.secret import Secret
from tests.conftest import V4, V6, all_up

SIV_256, SIV_512, GCM_SIV = Aead.AES_SIV_CMAC_256, Aead.AES_SIV_CMAC_512, Aead.AES_128_GCM_SIV
RANDOM = bytes(range(RANDOM_LENGTH))
INTERNAL_ERROR = error_refusal(ErrorCode.INTERNAL_SERVER_ERROR)
PAIRS = [(cookie_format, aead) for cookie_format in CookieFormat for aead in CLIENT_AEADS[cookie_format]]


class Exporter:
    """A TLS session's exporter: remembers what it was asked for, and answers with bytes that only it has."""

    def __init__(self):
        self.calls = []

    def __call__(self, context, length):
        self.calls.append((context, length))
        return Random(context).randbytes(length)


def serving(name, *addresses, cookies=CookieFormat.NTSPOOL, aeads=None, **settings):
    every = tuple(map(ip_address, addresses or ["192.0.2.1", "2001:db8::1"]))
    port, weight = settings.get("port", 123), settings.get("weight", 1)
    backend = Backend(name, every, port, weight, cookies, aeads or CLIENT_AEADS[cookies], name)
    return Serving(
        backend,
        all_up(backend, settings.get("up")),
        ServerKey(9, Secret(Random(name).randbytes(SERVER_AEAD[cookies].key_length))),
    )


def answer(every, request, client=V4, random=RANDOM, exporter=None):
    return Negotiator(every).answer(request, client, exporter or Exporter(), random)


def asking(*aeads, **fields):
    return Request(**{"protocols": (0,), "aeads": aeads, "compliant_128gcm": True} | fields)


# What a client gets.


@pytest.mark.parametrize(("cookie_format", "aead"), PAIRS)
@pytest.mark.parametrize("client", [V4, V6])
def test_the_answer_is_what_client_and_backend_need(cookie_format, aead, client):
    backend, exporter = serving("a", cookies=cookie_format), Exporter()
    request = ServerExchange().receive_data(asking(aead).encode())
    given_answer = answer([backend], request, client, exporter=exporter)
    response = ClientExchange(request).receive_data(given_answer.message.encode())
    assert (given_answer.message, given_answer.reason) == (response, "")
    assert given_answer.choice.serving is backend
    assert (response.aead, response.server, response.port) == (aead, str(given_answer.choice.address), None)
    assert ip_address(response.server).version == client.family
    assert response.compliant_128gcm == (aead is GCM_SIV)
    # What the client exports on its own side, the backend finds in every cookie.
    stem = bytes((0, 0, 0, aead))
    keys = [Exporter()(stem + direction, aead.key_length) for direction in (b"\0", b"\1")]
    backends_key = CookieKey(cookie_format, backend.key)
    assert [backends_key.open(cookie) for cookie in response.cookies] == [Association(aead, *map(Secret, keys))] * 8
    assert exporter.calls == [(stem + b"\0", aead.key_length), (stem + b"\1", aead.key_length)]


@pytest.mark.parametrize("cookie_format", CookieFormat)
def test_eight_cookies_with_a_nonce_of_their_own_each(cookie_format):
    backend = serving("a", cookies=cookie_format)
    cookies = answer([backend], asking(15)).message.cookies
    key = CookieKey(cookie_format, backend.key)
    association = key.open(cookies[0])
    nonces = [RANDOM[at : at + NONCE_LENGTH] for at in range(8, RANDOM_LENGTH, NONCE_LENGTH)]
    assert len(set(nonces)) == 8
    assert cookies == tuple(key.mint(association, nonce) for nonce in nonces)


@pytest.mark.parametrize(("port", "told"), [(123, None), (124, 124), (4123, 4123)])
def test_the_port_is_told_only_when_it_is_not_123(port, told):
    assert answer([serving("a", port=port)], asking(15)).message.port == told


def test_128_gcm_siv_only_with_record_1024_which_is_echoed_only_then():
    every = [serving("a", cookies=CookieFormat.CHRONY)]
    for aeads, compliant, expected in [
        ((30, 15), True, (GCM_SIV, True)),
        ((15, 30), True, (SIV_256, False)),
        ((30, 15), False, (SIV_256, False)),
    ]:
        message = answer(every, asking(*aeads, compliant_128gcm=compliant)).message
        assert (message.aead, message.compliant_128gcm) == expected
    assert answer(every, asking(30, compliant_128gcm=False)).message == NO_COMMON_AEAD


@pytest.mark.parametrize(
    ("cookie_format", "aeads", "expected"),
    [
        (CookieFormat.CHRONY, (17, 15), SIV_256),
        (CookieFormat.NTPD_RS, (17, 15), SIV_512),
        (CookieFormat.NTPD_RS, (15, 17), SIV_256),
        (CookieFormat.NTPSEC, (30, 15), SIV_256),
        (CookieFormat.NTSPOOL, (30, 17, 15), GCM_SIV),
    ],
)
def test_the_aead_is_the_clients_first_that_the_backend_serves(cookie_format, aeads, expected):
    assert answer([serving("a", cookies=cookie_format)], asking(*aeads)).message.aead is expected


def test_wishes_are_honoured():
    every = [serving("a", "192.0.2.1"), serving("b", "192.0.2.2", port=4123), serving("c", "192.0.2.3")]
    assert answer(every, asking(15, server="C")).message.server == "192.0.2.3"
    assert answer(every, asking(15, server="192.0.2.3")).message.server == "192.0.2.3"
    assert answer(every, asking(15, port=4123)).message.server == "192.0.2.2"
    assert answer(every, asking(15, server="elsewhere")).message.server == "192.0.2.1"


# One backend only.


@pytest.mark.parametrize(("minted", "tried"), list(product(CookieFormat, repeat=2)))
def test_no_other_backend_can_open_the_cookies(minted, tried):
    answered = answer([serving("a", cookies=minted)], asking(15))
    other = CookieKey(tried, serving("b", cookies=tried).key)
    for cookie in answered.message.cookies:
        with pytest.raises(WireError):
            other.open(cookie)


FLEET = [serving(name, f"192.0.2.{n}", f"2001:db8::{n}", weight=n) for n, name in enumerate("abcd", 1)]
CHRONY = serving("chrony", "192.0.2.9", cookies=CookieFormat.CHRONY)
FLEET.append(CHRONY)
OFFERS = [(15,), (17, 15), (30, 15), (16,), ()]


@given(
    st.binary(min_size=RANDOM_LENGTH, max_size=RANDOM_LENGTH),
    st.sampled_from([V4, V6]),
    st.builds(
        Request,
        st.sampled_from([(0,), (0x8001,), (0x8001, 0)]),
        st.sampled_from(OFFERS) | st.lists(st.integers(0, 0xFFFF), max_size=5).map(tuple),
        st.booleans(),
        st.none() | st.sampled_from(["a", "192.0.2.9", "::"]) | st.text(max_size=9),
        st.none() | st.sampled_from([0, 123, 65535]),
    ),
)
def test_keys_are_exported_once_for_one_backend_or_not_at_all(random, client, request_):
    exporter = Exporter()
    answered = answer(FLEET, request_, client, random, exporter)
    assert answered.message.encode()
    if answered.choice is None:
        assert exporter.calls == []
        assert answered.reason
        return
    key = CookieKey(answered.choice.serving.backend.cookies, answered.choice.serving.key)
    carried = {key.open(cookie) for cookie in answered.message.cookies}
    length = answered.message.aead.key_length
    assert [called for _, called in exporter.calls] == [length, length]
    assert carried == {Association(answered.message.aead, *(Secret(Exporter()(*call)) for call in exporter.calls))}


def test_a_failing_exporter_is_not_followed_by_another_backend():
    calls = []

    def export(context, length):
        calls.append((context, length))
        raise OSError("TLS has no keys")

    with pytest.raises(OSError, match="no keys"):
        Negotiator(FLEET).answer(asking(15), V4, export, RANDOM)
    assert calls == [(b"\0\0\0\x0f\0", 32)]


# The choice.


def test_the_choice_is_uniform_in_the_random_bytes():
    negotiator, draws = Negotiator(FLEET), Random(4460)
    counts = Counter(
        negotiator.answer(asking(17), V4, Exporter(), draws.randbytes(RANDOM_LENGTH)).message.server
        for _ in range(5000)
    )
    expected = {f"192.0.2.{n}": 500 * n for n in range(1, 5)}
    assert counts.keys() == expected.keys()
    # 16.3 is exceeded once in a thousand seeds, with three degrees of freedom.
    assert sum((counts[who] - n) ** 2 / n for who, n in expected.items()) < 16.3


@pytest.mark.parametrize(
    ("first", "server"),
    [
        ("00" * 8, "192.0.2.1"),
        ("19" + "00" * 7, "192.0.2.1"),
        ("1a" + "00" * 7, "192.0.2.2"),
        ("4d" + "00" * 7, "192.0.2.3"),
        ("9a" + "00" * 7, "192.0.2.4"),
        ("ff" * 8, "192.0.2.4"),
    ],
)
@pytest.mark.parametrize("rest", [bytes(128), b"\xff" * 128])
def test_the_first_eight_bytes_decide_alone(first, server, rest):
    # The weights are 1, 2, 3 and 4, so the edges are at 0.1, 0.3 and 0.6 of 2**64.
    assert answer(FLEET[:4], asking(17), random=bytes.fromhex(first) + rest).message.server == server


# Refusals.


def down(**settings):
    return serving("down", up=(), **settings)


@pytest.mark.parametrize(
    ("every", "request_", "client", "expected"),
    [
        (FLEET, asking(15, protocols=(0x8001,)), V4, Answer(NO_COMMON_PROTOCOL, reason="no common next protocol")),
        ([], asking(15, protocols=(1, 2)), V4, Answer(NO_COMMON_PROTOCOL, reason="no common next protocol")),
        (FLEET, asking(16), V4, Answer(NO_COMMON_AEAD, reason="no common AEAD algorithm")),
        (FLEET, asking(), V4, Answer(NO_COMMON_AEAD, reason="no common AEAD algorithm")),
        ([CHRONY], asking(17), V4, Answer(NO_COMMON_AEAD, reason="no common AEAD algorithm")),
        ([], asking(15), V4, Answer(NO_COMMON_AEAD, reason="no common AEAD algorithm")),
        ([down()], asking(15), V4, Answer(INTERNAL_ERROR, reason="no backend for IPV4 is UP and serves these AEADs")),
        ([down()], asking(15), V6, Answer(INTERNAL_ERROR, reason="no backend for IPV6 is UP and serves these AEADs")),
        ([CHRONY], asking(15), V6, Answer(INTERNAL_ERROR, reason="no backend has an IPV6 address")),
        (
            [CHRONY, down()],
            asking(17),
            V4,
            Answer(INTERNAL_ERROR, reason="no backend for IPV4 is UP and serves these AEADs"),
        ),
    ],
)
def test_refusals(every, request_, client, expected):
    exporter = Exporter()
    assert answer(every, request_, client, exporter=exporter) == expected
    assert exporter.calls == []
