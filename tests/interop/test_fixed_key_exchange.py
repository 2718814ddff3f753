"""A pool's talk with the NTS-KE servers of ntpd-rs and of our own time server, word by word, to authenticated time."""

import os
import secrets
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from ntspool.app.throwaway import Authority
from ntspool.pool import nts
from ntspool.pool.cookies import Association
from ntspool.wire.aead import Aead
from ntspool.wire.messages import NO_COMMON_AEAD, Refusal, RefusalReason
from ntspool.wire.poolprotocol import FixedKeyRequest, SupportQuery
from ntspool.wire.secret import Secret
from tests.interop.daemons import OwnKe, ntpd_rs, timeserver
from tests.interop.lab import free_port
from tests.net.poolclient import PoolClient

TOKEN = Secret(secrets.token_hex(32).encode())
BAD_REQUEST = Refusal(RefusalReason.ERROR, 1)
SIV_256, SIV_512, GCM_SIV = Aead.AES_SIV_CMAC_256, Aead.AES_SIV_CMAC_512, Aead.AES_128_GCM_SIV
DAEMONS = {"ntpd-rs": (ntpd_rs, (SIV_256, SIV_512)), "ntspool": (timeserver, (SIV_256, SIV_512, GCM_SIV))}


@pytest.fixture(scope="module", params=DAEMONS)
def backend(request, tmp_path_factory):
    """A running daemon, its AEADs, and a function that connects to its NTS-KE server as a pool."""
    run, aeads = DAEMONS[request.param]
    authority, ca = Authority.make(datetime.now(UTC)), tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.write(ca)
    address = "127.0.0.71"
    ke = OwnKe(authority, TOKEN.reveal().decode(), free_port(address))
    with run(addresses=(address,), ke=ke) as daemon:
        yield daemon, aeads, lambda: PoolClient(address, ke.port, ca)


def fixed(aead, token=TOKEN, **more):
    keys = Secret(os.urandom(aead.key_length)), Secret(os.urandom(aead.key_length))
    return FixedKeyRequest(token, aead, *keys, **more), Association(aead, *keys)


def check_time(daemon, association, cookie):
    """Spend a cookie, and the one that comes back."""
    for _ in range(2):
        unique_id, nonce = os.urandom(32), os.urandom(association.aead.nonce_length)
        transmit = int.from_bytes(os.urandom(8), "big")
        request = nts.build_request(
            association, cookie, unique_id=unique_id, nonce=nonce, placeholders=0, transmit_timestamp=transmit
        )
        response = nts.read_response(request, daemon.exchange(request.data))
        assert isinstance(response, nts.Response)
        (cookie,) = response.cookies


def test_what_is_supported(backend):
    _, aeads, connect = backend
    with connect() as pool:
        support = pool.ask(SupportQuery(TOKEN))
        assert (support.protocols, support.usable_aeads, support.keep_alive) == ((0,), set(aeads), True)


def test_cookies_for_many_clients_over_one_connection_give_authenticated_time(backend):
    daemon, aeads, connect = backend
    with connect() as pool:
        assert pool.ask(SupportQuery(TOKEN)).keep_alive
        for aead in aeads * 3:
            question, association = fixed(aead)
            answer = pool.ask(question)
            assert (answer.response.aead, len(answer.response.cookies), answer.keep_alive) == (aead, 8, True)
            assert (answer.response.server, answer.response.port) == (None, daemon.udp.getpeername()[1])
            for cookie in answer.response.cookies[::7]:
                check_time(daemon, association, cookie)


def test_without_keep_alive_the_connection_ends_with_the_cookies(backend):
    daemon, _, connect = backend
    with connect() as pool:
        question, association = fixed(SIV_256, keep_alive=False)
        answer = pool.ask(question)
        assert not answer.keep_alive
        assert pool.receive() is None
        check_time(daemon, association, answer.response.cookies[0])


def test_strangers_get_no_cookies(backend):
    _, _, connect = backend
    for token in (None, Secret(b"x" * 64), Secret(TOKEN.reveal()[:-1])):
        for question in (SupportQuery(token), fixed(SIV_256, token)[0]):
            with connect() as pool:
                assert pool.ask(question) == BAD_REQUEST
                assert pool.receive() is None


def test_an_aead_that_it_has_not_gives_no_cookies(backend):
    _, _, connect = backend
    with connect() as pool:
        # ntpd-rs closes the connection without a word.
        unknown = FixedKeyRequest(TOKEN, 16, Secret(bytes(48)), Secret(bytes(48)))
        assert pool.ask(unknown) in {None, NO_COMMON_AEAD}


def test_many_connections_at_once(backend):
    _, _, connect = backend
    with ExitStack() as stack:
        pools = [stack.enter_context(connect()) for _ in range(20)]
        for _ in range(2):
            assert all(pool.ask(fixed(SIV_256)[0]).keep_alive for pool in pools)
