"""A time server with NTS that does one thing wrong, for whoever must find it; as it comes it does nothing wrong."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ntspool.errors import WireError
from ntspool.pool.ciphers import cipher_for
from ntspool.pool.cookies import NONCE_LENGTH, CookieFormat, CookieJar, ServerKey
from ntspool.pool.nts import OpenedRequest, UnverifiedRequest, build_nak, open_request, seal_response
from ntspool.wire.ntp import (
    Authenticator,
    ExtensionField,
    FieldType,
    Header,
    Mode,
    Packet,
    decode_packet,
    encode_authenticator,
    encode_field,
    encode_header,
    encode_packet,
    ntp_timestamp,
)
from ntspool.wire.secret import Secret

POLL = 0.05
"""Seconds after which a server's thread looks whether it is over."""

_FAR_TOO_LONG = 4096


def new_jar() -> CookieJar:
    """Return the keys of a new server."""
    return CookieJar(CookieFormat.NTSPOOL, [ServerKey(1, Secret(os.urandom(32)))], 0)


@dataclass(frozen=True, slots=True)
class TimeBehaviour:
    """How a time server answers.

    `shift` is how many seconds its clock is off, `pause` how many it takes to answer. `header` makes the header that it
    sends of that which it should send, `cookies` the new cookies, `unique_id` the identifier; `knows` tells whether it
    opens a cookie; `out` makes the datagrams to send of the one that it should send. What does not verify gets time all
    the same from one that is `trusting`, and from one that is `plain` time without NTS.
    """

    shift: float = 0.0
    pause: float = 0.0
    header: Callable[[Header], Header] = lambda header: header
    unique_id: Callable[[bytes], bytes] = lambda unique_id: unique_id
    cookies: Callable[[Sequence[bytes]], Sequence[bytes]] = lambda cookies: cookies
    knows: Callable[[bytes], bool] = lambda _cookie: True
    out: Callable[[bytes], Sequence[bytes]] = lambda datagram: [datagram]
    amplifies: bool = False
    trusting: bool = False
    plain: bool = False


@contextmanager
def time_server(jar: CookieJar, behaviour: TimeBehaviour, host: str) -> Iterator[int]:
    """Serve time at `host`; yield the port."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((host, 0))
        udp.settimeout(POLL)
        over = threading.Event()
        thread = threading.Thread(target=_serve, args=(udp, jar, behaviour, over))
        thread.start()
        try:
            yield udp.getsockname()[1]
        finally:
            over.set()
            thread.join()


def _serve(udp: socket.socket, jar: CookieJar, behaviour: TimeBehaviour, over: threading.Event) -> None:
    while not over.is_set():
        try:
            data, peer = udp.recvfrom(65536)
        except TimeoutError:
            continue
        received = time.time()
        try:
            answers = _answers(data, received, jar, behaviour)
        except WireError:
            continue
        for each in answers:
            udp.sendto(each, peer)


def _answers(data: bytes, received: float, jar: CookieJar, behaviour: TimeBehaviour) -> Sequence[bytes]:
    def open_cookie(cookie):
        if not behaviour.knows(cookie):
            raise WireError("a cookie of other keys")
        return jar.open(cookie)

    packet = decode_packet(data)
    opened = open_request(packet, data, open_cookie)
    if behaviour.pause:
        time.sleep(behaviour.pause)
    right = _header(packet.header, received, behaviour.shift)
    if isinstance(opened, UnverifiedRequest) and behaviour.trusting:
        opened = _trusted(packet, data, jar)
    if isinstance(opened, UnverifiedRequest):
        if behaviour.plain:
            unique_id = ExtensionField(FieldType.UNIQUE_IDENTIFIER, opened.unique_id)
            return [encode_packet(Packet(right, (unique_id,)))]
        return behaviour.out(build_nak(opened, right))
    return behaviour.out(_sealed(opened, behaviour.header(right), jar, behaviour))


def _trusted(packet: Packet, data: bytes, jar: CookieJar) -> OpenedRequest:
    """Open a request without a look at its authenticator."""
    (unique_id,), (cookie,) = packet.bodies(FieldType.UNIQUE_IDENTIFIER), packet.bodies(FieldType.NTS_COOKIE)
    return OpenedRequest(packet.header, unique_id, jar.open(cookie), 1, len(data))


def _sealed(opened: OpenedRequest, header: Header, jar: CookieJar, behaviour: TimeBehaviour) -> bytes:
    mint = lambda: jar.mint(opened.association, os.urandom(NONCE_LENGTH))  # noqa: E731
    wanted = 8 if behaviour.amplifies else opened.cookies_wanted
    cookies = behaviour.cookies([mint() for _ in range(wanted)])
    answered = replace(opened, unique_id=behaviour.unique_id(opened.unique_id))
    if behaviour.amplifies:
        answered = replace(answered, length=_FAR_TOO_LONG)
    nonce = os.urandom(opened.association.aead.nonce_length)
    return seal_response(answered, header, cookies, nonce) if cookies else _sealed_without(answered, header, nonce)


def _sealed_without(opened: OpenedRequest, header: Header, nonce: bytes) -> bytes:
    """Seal what no server of ours would: a response without a cookie."""
    clear = encode_header(header) + encode_field(ExtensionField(FieldType.UNIQUE_IDENTIFIER, opened.unique_id))
    association = opened.association
    sealed = cipher_for(association.aead, association.s2c.reveal()).seal(nonce, b"", clear)
    return clear + encode_field(encode_authenticator(Authenticator(nonce, sealed)))


def _header(request: Header, received: float, shift: float) -> Header:
    return Header(
        Mode.SERVER,
        stratum=2,
        poll=request.poll,
        precision=-20,
        root_delay=100,
        root_dispersion=66,
        reference_id=bytes((192, 0, 2, 1)),
        reference_timestamp=ntp_timestamp(received + shift - 16),
        origin_timestamp=request.transmit_timestamp,
        receive_timestamp=ntp_timestamp(received + shift),
        transmit_timestamp=ntp_timestamp(time.time() + shift),
    )
