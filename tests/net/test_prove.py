"""A key is proved by an answer, and what is no answer is told apart."""

import asyncio
import os
from dataclasses import replace

import pytest

from ntspool.net.prove import prove
from ntspool.net.timeserver import TimeServer
from ntspool.pool.cookies import CookieFormat, CookieJar, ServerKey
from ntspool.pool.keyfiles import KeySet, render
from ntspool.pool.keyring import create
from ntspool.pool.nts import open_request, seal_response
from ntspool.wire.ntp import Header, Mode, decode_packet
from ntspool.wire.secret import Secret
from tests.interop.lab import free_port

KEYS = create(0, os.urandom).keys("g", CookieFormat.NTSPOOL)
STRANGERS = tuple(replace(key, secret=Secret(os.urandom(32))) for key in KEYS.keys[:1])


async def _prove(keys, held, tmp_path):
    path = tmp_path / "keys"
    path.write_bytes(render(CookieFormat.NTSPOOL, held, 0))
    path.chmod(0o600)
    async with TimeServer([("127.0.0.1", 0)], path, 3) as server:
        return await prove(*server.addresses[0], CookieFormat.NTSPOOL, keys, timeout=2)


def test_every_key_that_the_server_holds_is_proved(tmp_path):
    proof = asyncio.run(_prove(KEYS.keys, KEYS, tmp_path))
    assert proof.proved == tuple(key.id for key in KEYS.keys)
    assert (proof.complete, proof.silent, proof.failure, proof.refused) == (True, False, None, frozenset())


@pytest.mark.parametrize("stranger", [STRANGERS[0], ServerKey(99, Secret(bytes(32)))], ids=["secret", "id"])
def test_a_key_that_it_does_not_hold_is_refused(tmp_path, stranger):
    proof = asyncio.run(_prove((stranger, *KEYS.keys[2:]), KEYS, tmp_path))
    assert proof.proved == tuple(key.id for key in KEYS.keys[2:])
    assert proof.refused == {stranger.id}
    assert (proof.complete, proof.silent) == (False, False)
    assert proof.failure == f"key {stranger.id}: NTS NAK"


def test_a_server_that_is_not_there_is_silent():
    proof = asyncio.run(prove("127.0.0.1", free_port("127.0.0.1"), CookieFormat.NTSPOOL, KEYS.keys[:2], timeout=2))
    assert (proof.proved, proof.complete, proof.silent) == ((), False, True)
    first, second = (key.id for key in KEYS.keys[:2])
    refusal = "refused (ICMP port unreachable)"
    assert proof.failure == f"key {first}: {refusal}; key {second}: {refusal}"


def test_of_no_keys_nothing_is_proved():
    proof = asyncio.run(prove("127.0.0.1", 1, CookieFormat.NTSPOOL, (), timeout=2))
    assert (proof.proved, proof.failure, proof.silent, proof.synchronized) == ((), None, True, False)


def test_no_secret_is_shown(tmp_path):
    proof = asyncio.run(_prove(STRANGERS, KeySet(KEYS.keys, 2), tmp_path))
    assert STRANGERS[0].secret.reveal().hex() not in repr(proof)
    assert repr(STRANGERS[0].secret.reveal()) not in repr(proof)


def test_an_unsynchronised_server_proves_its_keys_all_the_same(tmp_path):
    proof = asyncio.run(_prove(KEYS.keys, KEYS, tmp_path))
    assert proof.synchronized
    for header in (replace_header(leap=3), replace_header(stratum=0, reference_id=b"INIT")):
        proof = asyncio.run(_prove_against(header))
        assert (proof.complete, proof.synchronized) == (True, False)


def replace_header(**changes):
    return lambda header: replace(header, **changes)


async def _prove_against(change):
    """Prove a key by a server that changes the header of its answers before it authenticates them."""
    key = KEYS.keys[2]
    jar = CookieJar(CookieFormat.NTSPOOL, [key], 0)

    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, peer):
            packet = decode_packet(data)
            request = open_request(packet, data, jar.open)
            header = Header(Mode.SERVER, stratum=3, origin_timestamp=packet.header.transmit_timestamp)
            cookie = jar.mint(request.association, os.urandom(16))
            answer = seal_response(request, change(header), [cookie], os.urandom(request.association.aead.nonce_length))
            self.transport.sendto(b"garbage", peer)
            self.transport.sendto(answer, peer)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    try:
        return await prove(*transport.get_extra_info("sockname"), CookieFormat.NTSPOOL, [key], timeout=2)
    finally:
        transport.close()
