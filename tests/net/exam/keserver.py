"""An NTS-KE server that does one thing wrong, for whoever must find it; as it comes it does nothing wrong."""

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from OpenSSL import SSL

from ntspool.errors import WireError
from ntspool.net.tls import ALPN_NTSKE, certificate_context
from ntspool.pool.cookies import NONCE_LENGTH, Association, CookieJar
from ntspool.pool.model import Certificate
from ntspool.wire import records
from ntspool.wire.aead import Aead
from ntspool.wire.exchange import EXPORTER_LABEL, MessageBuffer, exporter_contexts
from ntspool.wire.messages import NO_COMMON_AEAD, NO_COMMON_PROTOCOL, Request, decode_request, error_refusal
from ntspool.wire.records import END_OF_MESSAGE, MAX_MESSAGE, PROTOCOL_NTPV4, Record
from ntspool.wire.secret import Secret
from tests.net.exam.ntpserver import POLL

PATIENCE = 5
"""Seconds that the server waits for a client."""

_NO_PROTOCOL, _NO_AEAD = NO_COMMON_PROTOCOL.encode(), NO_COMMON_AEAD.encode()

Answer = bytes | None
"""What a server says before it closes; None closes without a word."""


def first_usable(request: Request) -> Aead | None:
    """Choose as a server should: the client's first that it may answer with."""
    return next(iter(request.usable_aeads), None)


def say_error(error: WireError) -> Answer:
    """Answer a bad request as a server should."""
    return error_refusal(error.code).encode()


def in_one_piece(say: Callable[[bytes], None], message: bytes) -> None:
    """Send an answer as a server should."""
    say(message)


def select_ntske(offered: Sequence[bytes]) -> bytes | object:
    """Select a protocol as a server should."""
    return ALPN_NTSKE if ALPN_NTSKE in offered else SSL.NO_OVERLAPPING_PROTOCOLS


@dataclass(frozen=True, slots=True)
class KeBehaviour:
    """How an NTS-KE server answers.

    `read` decodes a request's records, `bad_request` answers one that it cannot decode, `no_protocol` and `no_aead` one
    with which nothing is in common; `choose` takes an AEAD, `contexts` tells what keys are exported under it; `cookies`
    and `message` make what is sent of what should be sent; `send` sends it. It `turns_away` clients before TLS, or
    `hangs` on a bad request. `pause` is in seconds, `limit` in bytes of a request.
    """

    tls_minimum: int = SSL.TLS1_3_VERSION
    alpn: Callable[[Sequence[bytes]], object] | None = select_ntske
    demands_alpn: bool = True
    turns_away: bool = False
    hangs: Callable[[WireError], bool] = lambda _error: False
    pause: float = 0.0
    one_record_only: bool = False
    limit: int = MAX_MESSAGE
    read: Callable[[Sequence[Record]], Request] = decode_request
    bad_request: Callable[[WireError], Answer] = say_error
    no_protocol: Answer = _NO_PROTOCOL
    no_aead: Answer = _NO_AEAD
    choose: Callable[[Request], int | None] = first_usable
    contexts: Callable[[Aead, bool], tuple[bytes, bytes]] = lambda aead, told: exporter_contexts(
        aead, compliant_128gcm=told
    )
    echo: bool = True
    minted: int = 8
    cookies: Callable[[list[bytes]], list[bytes]] = lambda cookies: cookies
    message: Callable[[list[Record]], list[Record]] = lambda message: message
    send: Callable[[Callable[[bytes], None], bytes], None] = in_one_piece
    close_notify: bool = True


@dataclass(frozen=True, slots=True)
class Site:
    """What a server serves with: its certificate, the keys of cookies, and whom it hands out, in turn."""

    certificate: Certificate
    jar: CookieJar
    hand_out: Callable[[str], tuple[str, int]]
    behaviour: KeBehaviour


@contextmanager
def ke_server(site: Site, host: str, port: int = 0) -> Iterator[int]:
    """Serve NTS-KE at `host`; yield the port."""
    context = _context(site)
    with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.settimeout(POLL)
        over = threading.Event()
        thread = threading.Thread(target=_accept, args=(listener, context, site, over))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            thread.join()


def _context(site: Site) -> SSL.Context:
    context = certificate_context(site.certificate)
    context.set_min_proto_version(site.behaviour.tls_minimum)
    if site.behaviour.alpn is not None:
        select = site.behaviour.alpn
        context.set_alpn_select_callback(lambda _connection, offered: select(offered))
    return context


def _accept(listener: socket.socket, context: SSL.Context, site: Site, over: threading.Event) -> None:
    clients: list[threading.Thread] = []
    while not over.is_set():
        try:
            client, _ = listener.accept()
        except TimeoutError:
            continue
        clients.append(threading.Thread(target=_serve, args=(client, context, site, over)))
        clients[-1].start()
    for each in clients:
        each.join()


def _serve(client: socket.socket, context: SSL.Context, site: Site, over: threading.Event) -> None:
    with client:
        if site.behaviour.turns_away:
            return
        # OpenSSL's own reads and writes on the socket know of no Python timeout.
        client.settimeout(None)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            client.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", PATIENCE, 0))
        tls = SSL.Connection(context, client)
        tls.set_accept_state()
        with suppress(SSL.Error, OSError):
            tls.do_handshake()
            _talk(tls, site, over)


def _talk(tls: SSL.Connection, site: Site, over: threading.Event) -> None:
    behaviour = site.behaviour
    if behaviour.demands_alpn and tls.get_alpn_proto_negotiated() != ALPN_NTSKE:
        return
    answer = _answer(tls, site, over)
    over.wait(behaviour.pause)
    if answer is not None:
        behaviour.send(tls.sendall, answer)
    if behaviour.close_notify:
        tls.shutdown()
        # Until the client closes too: closing on what it still says would be a reset.
        while tls.recv(4096):
            pass
    else:
        tls.sock_shutdown(socket.SHUT_WR)
        time.sleep(POLL)


def _answer(tls: SSL.Connection, site: Site, over: threading.Event) -> Answer:
    behaviour = site.behaviour
    buffer = MessageBuffer(behaviour.limit)
    try:
        while (message := buffer.receive_data(tls.recv(16384))) is None:
            if behaviour.one_record_only:
                return None
        request = behaviour.read(message)
    except WireError as error:
        if behaviour.hangs(error):
            over.wait(PATIENCE)
        return behaviour.bad_request(error)
    if PROTOCOL_NTPV4 not in request.protocols:
        return behaviour.no_protocol
    chosen = behaviour.choose(request)
    return behaviour.no_aead if chosen is None else _consent(tls, site, request, chosen)


def _consent(tls: SSL.Connection, site: Site, request: Request, chosen: int) -> bytes:
    behaviour = site.behaviour
    aead = Aead(chosen)
    told = behaviour.echo and aead is Aead.AES_128_GCM_SIV and request.compliant_128gcm
    c2s, s2c = (
        tls.export_keying_material(EXPORTER_LABEL, aead.key_length, each) for each in behaviour.contexts(aead, told)
    )
    association = Association(aead, Secret(c2s), Secret(s2c))
    cookies = behaviour.cookies([site.jar.mint(association, os.urandom(NONCE_LENGTH)) for _ in range(behaviour.minted)])
    host, port = site.hand_out((tls.get_servername() or b"").decode())
    message = [
        records.next_protocol([PROTOCOL_NTPV4]),
        records.aead_algorithm([aead]),
        *([records.COMPLIANT_128GCM_EXPORT] if told else []),
        records.ntpv4_server(host, critical=True),
        records.ntpv4_port(port, critical=True),
        *map(records.new_cookie, cookies),
        END_OF_MESSAGE,
    ]
    return b"".join(each.encode() for each in behaviour.message(message))
