"""An NTS-KE client over TCP: what any client of the pool does first (RFC 8915 section 4)."""

import asyncio
import contextlib
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from ntspool.errors import RemoteError
from ntspool.net.clientsession import ClientSession
from ntspool.net.tls import client_context
from ntspool.pool.cookies import Association
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
                session = ClientSession(context, server.name, request)
                reply = await _converse(session, reader, writer)
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
        tls_version=session.tls.get_protocol_version_name(),
        cipher=session.tls.get_cipher_name() or "",
        reply=reply,
        association=session.association(),
        elapsed=time.monotonic() - began,
    )


async def _converse(
    session: ClientSession, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Response | Refusal:
    """Carry a session's bytes and return the server's answer; raises RemoteError when it comes to none."""
    flight = session.start()
    while True:
        if flight:
            writer.write(flight)
            await writer.drain()
        if session.failure is not None:
            raise session.failure
        if session.reply is not None:
            return session.reply
        if data := await reader.read(_READ_SIZE):
            flight = session.receive_data(data)
        else:
            session.receive_eof()
            flight = b""


def _why(error: OSError) -> str:
    """Return the system's words for an error; asyncio's own speak of calls and futures."""
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error)
    return os.strerror(error.errno)
