"""The server's end of TLS, in memory: what a Session speaks through."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

import structlog
from OpenSSL import SSL

from ntspool.errors import WireError
from ntspool.net.tls import (
    ALPN_NTSKE,
    NO_ALPN,
    ByName,
    bare_context,
    certificate_context,
    clients_order_stands,
    describe,
    dns_names,
)
from ntspool.pool.model import Certificate
from ntspool.wire.exchange import EXPORTER_LABEL

_READ_SIZE = 16384
_FLIGHT = 65536
_TRIAL_NAME = b"localhost"

log = structlog.get_logger()


class ServerEnd(Protocol):
    """One connection's TLS, without a socket; `established` is True once the handshake is done."""

    established: bool

    def receive_data(self, data: bytes) -> bytes | None:
        """Take ciphertext; return the plaintext of one record, empty if there is none yet, None after close_notify.

        After plaintext, b"" asks for that of the next record. Raises WireError with OpenSSL's words when the
        handshake fails; what `data_to_send` has then is the alert.
        """

    def send(self, plaintext: bytes) -> None:
        """Say this, and stay ready for more."""

    def send_last(self, plaintext: bytes) -> None:
        """Say this and close_notify."""

    def data_to_send(self) -> bytes:
        """Return the ciphertext to send now, empty if there is none."""

    def export(self, context: bytes, length: int) -> bytes:
        """Return keying material under the label of NTS (RFC 5705, RFC 8915 section 5.1)."""

    def server_name(self) -> bytes:
        """Return the name that the client asked for, as it came; empty if it asked for none."""


ServerContext = Callable[[], ServerEnd]
"""Makes the server's end of a new connection."""


def server_context(certificates: Sequence[Certificate]) -> ServerContext:
    """Return what makes the ends of an NTS-KE server: TLS 1.3, ALPN ntske/1, no session tickets.

    SNI selects among the certificates; without it, and for a name that none covers, the first one stands.
    """
    try:
        from ntspool.net.fastssl import FastContext  # noqa: PLC0415  -- importing it may be what fails

        fast = FastContext(*contexts_by_name(certificates))
        if clients_order_stands():
            fast = FastContext(*contexts_by_name(certificates, only_aes_128=True), fast)
        try_out(fast)
    except Exception as error:
        log.warning("TLS by the slower, public interface of pyOpenSSL", reason=f"{type(error).__name__}: {error}")
        return PublicContext(*contexts_by_name(certificates))
    return fast


def try_out(context: ServerContext) -> None:
    """Do a session with a client in memory; raises an exception unless all goes as it must."""
    client, server = _client(), context()
    with suppress(SSL.WantReadError):
        client.do_handshake()
    server.receive_data(client.bio_read(_FLIGHT))
    client.bio_write(server.data_to_send())
    client.do_handshake()
    client.send(b"request")
    heard, said = server.receive_data(client.bio_read(_FLIGHT)), server.data_to_send()
    keys = server.export(b"context", 32), client.export_keying_material(EXPORTER_LABEL, 32, b"context")
    server.send_last(b"answer")
    client.bio_write(server.data_to_send())
    answer = client.recv(_READ_SIZE)
    with suppress(SSL.ZeroReturnError):
        client.recv(_READ_SIZE)
        answer = b"an answer without an end"
    told = (heard, said, server.server_name(), answer, keys[0])
    if told != (b"request", b"", _TRIAL_NAME, b"answer", keys[1]):
        raise RuntimeError(f"the server's end is not what it must be: {told[:-1]}")


def _client() -> SSL.Connection:
    context = bare_context(SSL.TLS_CLIENT_METHOD)
    context.set_alpn_protos([ALPN_NTSKE])
    client = SSL.Connection(context, None)
    client.set_connect_state()
    client.set_tlsext_host_name(_TRIAL_NAME)
    return client


class PublicContext:
    """Makes ends from pyOpenSSL contexts, which must have no callbacks of their own."""

    def __init__(self, contexts: ByName[SSL.Context], first: SSL.Context) -> None:
        self._contexts = contexts
        self._first = first
        for context in contexts.values():
            context.set_alpn_select_callback(_select_alpn)
        first.set_tlsext_servername_callback(self._select)

    def __call__(self) -> "PublicEnd":
        """Return the server's end of a new connection."""
        return PublicEnd(self._first)

    def _select(self, connection: SSL.Connection) -> None:
        # Tickets are let go only when this option appears during the handshake; on the context it just makes
        # them stateful, and two still go out.
        connection.set_options(SSL.OP_NO_TICKET)
        host = (connection.get_servername() or b"").decode("ascii", "replace").lower()
        if (context := self._contexts.get(host)) is not None:
            connection.set_context(context)


class PublicEnd:
    """See ServerEnd."""

    __slots__ = ("_tls", "established")

    def __init__(self, context: SSL.Context) -> None:
        self._tls = SSL.Connection(context, None)
        self._tls.set_accept_state()
        self.established = False

    def receive_data(self, data: bytes) -> bytes | None:
        """See ServerEnd.receive_data."""
        if data:
            self._tls.bio_write(data)
        try:
            if not self.established:
                self._tls.do_handshake()
                self.established = True
                if self._tls.get_alpn_proto_negotiated() != ALPN_NTSKE:
                    raise WireError(NO_ALPN)
            return self._tls.recv(_READ_SIZE)
        except SSL.WantReadError:
            return b""
        except SSL.ZeroReturnError:
            return None
        except SSL.Error as error:
            raise WireError(describe(error)) from error

    def send(self, plaintext: bytes) -> None:
        """See ServerEnd.send."""
        self._tls.send(plaintext)

    def send_last(self, plaintext: bytes) -> None:
        """See ServerEnd.send_last."""
        self.send(plaintext)
        self._tls.shutdown()

    def data_to_send(self) -> bytes:
        """See ServerEnd.data_to_send."""
        try:
            return self._tls.bio_read(_FLIGHT)
        except SSL.WantReadError:
            return b""

    def export(self, context: bytes, length: int) -> bytes:
        """See ServerEnd.export."""
        return self._tls.export_keying_material(EXPORTER_LABEL, length, context)

    def server_name(self) -> bytes:
        """See ServerEnd.server_name."""
        return self._tls.get_servername() or b""


def contexts_by_name(
    certificates: Sequence[Certificate], *, only_aes_128: bool = False
) -> tuple[ByName[SSL.Context], SSL.Context]:
    """Return a context for each certificate, by its names, and the first of them; see certificate_context."""
    contexts = [certificate_context(each, only_aes_128=only_aes_128) for each in certificates]
    return ByName(zip(map(dns_names, certificates), contexts, strict=True)), contexts[0]


def _select_alpn(_connection: SSL.Connection, offered: list[bytes]) -> bytes:
    if ALPN_NTSKE not in offered:
        # Any exception makes OpenSSL send the alert no_application_protocol; it then comes out of do_handshake.
        raise WireError("no application protocol")
    return ALPN_NTSKE
