"""A load balancer, and the PROXY protocol's header as it writes it."""

import asyncio
import contextlib
from ipaddress import ip_address

from ntspool.wire.proxy2 import SIGNATURE, Command, Transport


def block(command: int, transport: int, body: bytes) -> bytes:
    return SIGNATURE + bytes([command, transport]) + len(body).to_bytes(2, "big") + body


def header(source: str, destination: str = "", port: int = 40000, tlvs: bytes = b"") -> bytes:
    """Return the header of a TCP connection from `source`."""
    client = ip_address(source)
    server = ip_address(destination or ("192.0.2.1" if client.version == 4 else "2001:db8::1"))
    ports = port.to_bytes(2, "big") + (4460).to_bytes(2, "big")
    transport = Transport.TCP4 if client.version == 4 else Transport.TCP6
    return block(Command.PROXY, transport, client.packed + server.packed + ports + tlvs)


LOCAL = block(Command.LOCAL, Transport.UNSPEC, b"")


class Balancer:
    """A load balancer on a free port of 127.0.0.1 that brings every client to `target` behind `first`."""

    def __init__(self, target: tuple[str, int], first: bytes) -> None:
        self._target = target
        self._first = first
        self.address: tuple[str, int]

    async def __aenter__(self) -> "Balancer":
        self._server = await asyncio.start_server(self._bring, "127.0.0.1", 0)
        self.address = self._server.sockets[0].getsockname()[:2]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _bring(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._target)
        back.write(self._first)
        await asyncio.gather(_pass(reader, back), _pass(there, writer))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
