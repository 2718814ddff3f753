"""An NTS-KE client over TCP: what any client of the pool does first (RFC 8915 section 4)."""

import asyncio
import contextlib
import os
import socket
import time
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import service_identity
from OpenSSL import SSL
from service_identity.pyopenssl import verify_hostname, verify_ip_address

from ntspool.errors import RemoteError, WireError
from ntspool.net.tls import ALPN_NTSKE, client_context, describe
from ntspool.pool.cookies import Association
from ntspool.wire.exchange import EXPORTER_LABEL, ClientExchange, exporter_contexts
from ntspool.wire.messages import Refusal, Request, Response

DEFAULT_KE_PORT = 4460

_READ_SIZE = 16384


@dataclass(frozen=True, slots=True)
class Server:
    """Where to find an NTS-KE server and how to know it.

    `name` is what its certificate must cover, a DNS name or an IP literal; `ca` None means the system's authorities.
    """

    host: str
    port: int
    name: str
    ca: Path | None


@dataclass(frozen=True, slots=True)
class KeyExchange:
    """A finished exchange; `association` is None when the server refused. `elapsed` is in seconds."""

    address: str
    tls_version: str
    cipher: str
    reply: Response | Refusal
    association: Association | None
    elapsed: float


async def exchange_keys(server: Server, request: Request, timeout: float) -> KeyExchange:
    """Run one NTS-KE session; raises RemoteError with the reason when it does not come to an answer.

    Raises CertificateError when `server.ca` cannot be used. `timeout` in seconds bounds the whole session.
    """
    context = client_context(server.ca)
    began = time.monotonic()
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(server.host, server.port)
            try:
                client = _Client(context, server.name, request)
                reply = await client.run(reader, writer)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError as error:
        raise RemoteError(f"no answer within {timeout:g} s") from error
    except OSError as error:
        raise RemoteError(f"{server.host} port {server.port}: {_why(error)}") from error
    return KeyExchange(
        address=writer.get_extra_info("peername")[0],
        tls_version=client.tls.get_protocol_version_name(),
        cipher=client.tls.get_cipher_name() or "",
        reply=reply,
        association=client.association(reply),
        elapsed=time.monotonic() - began,
    )


class _Client:
    """TLS and NTS-KE of one session over memory; `run` carries the bytes."""

    def __init__(self, context: SSL.Context, name: str, request: Request) -> None:
        self.tls = SSL.Connection(context, None)
        self.tls.set_connect_state()
        self._name = name
        if not _is_address(name):
            self.tls.set_tlsext_host_name(name.encode("idna"))
        self._request = request
        self._exchange = ClientExchange(request)
        self._established = False

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Response | Refusal:
        reply = None
        while reply is None:
            try:
                reply = self._advance()
            except SSL.WantReadError:
                await self._flush(writer)
                data = await reader.read(_READ_SIZE)
                if not data:
                    raise RemoteError("the server closed the connection without an answer") from None
                self.tls.bio_write(data)
            except SSL.ZeroReturnError:
                raise RemoteError("the server ended TLS without an answer") from None
            except SSL.Error as error:
                await self._flush(writer)
                raise RemoteError(f"TLS failed: {describe(error)}") from error
        self.tls.shutdown()
        await self._flush(writer)
        return reply

    def _advance(self) -> Response | Refusal | None:
        if not self._established:
            self.tls.do_handshake()
            self._established = True
            if self.tls.get_alpn_proto_negotiated() != ALPN_NTSKE:
                raise WireError("the server does not speak ALPN ntske/1")
            self._check_name()
            self.tls.send(self._request.encode())
        return self._exchange.receive_data(self.tls.recv(_READ_SIZE))

    def _check_name(self) -> None:
        try:
            if _is_address(self._name):
                verify_ip_address(self.tls, self._name)
            else:
                verify_hostname(self.tls, self._name)
        except (service_identity.VerificationError, service_identity.CertificateError) as error:
            raise RemoteError(f"the server's certificate is not for {self._name}") from error

    async def _flush(self, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(self.tls.bio_read(65536))
        except SSL.WantReadError:
            return
        await writer.drain()

    def association(self, reply: Response | Refusal) -> Association | None:
        """Return what both ends export from this session for the AEAD that the server chose."""
        if isinstance(reply, Refusal):
            return None
        aead = reply.aead
        c2s, s2c = (
            self.tls.export_keying_material(EXPORTER_LABEL, aead.key_length, each)
            for each in exporter_contexts(aead, compliant_128gcm=reply.compliant_128gcm)
        )
        return Association(aead, c2s, s2c)


def _why(error: OSError) -> str:
    """Return the system's words for an error; asyncio's own speak of calls and futures."""
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error)
    return os.strerror(error.errno)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
