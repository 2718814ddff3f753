"""The header of the PROXY protocol, version 2 (HAProxy's proxy-protocol.txt, section 2.2).

A TCP load balancer sends it ahead of a connection's own bytes, to tell whose connection it passes on.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from ntspool.errors import WireError

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
"""The first twelve bytes; no TLS record begins like this."""

FIXED_LENGTH: Final = 16
"""Bytes of signature, version and command, family and transport, and the length of the rest."""

MAX_HEADER: Final = 4096
"""Longest header we read, in bytes. With every TLV that balancers are known to send, none has a quarter of it."""

_V4_MAPPED = bytes(10) + b"\xff\xff"


class Command(IntEnum):
    """Version 2 and the command, as they share the thirteenth byte."""

    LOCAL = 0x20
    PROXY = 0x21


class Transport(IntEnum):
    """Address family and transport protocol, as they share the fourteenth byte; datagrams cannot arrive over TCP."""

    UNSPEC = 0x00
    TCP4 = 0x11
    TCP6 = 0x21
    UNIX = 0x31


_ADDRESSES = {Transport.UNSPEC: 0, Transport.TCP4: 12, Transport.TCP6: 36, Transport.UNIX: 216}
_SOURCE = {Transport.TCP4: 4, Transport.TCP6: 16}


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """Whose connection it is, and where its own bytes begin.

    `source` is the client's address in network byte order: 4 bytes, also of an IPv4 client that was written as an
    IPv6 address, or 16. It is None where the connection is the balancer's own (LOCAL: its health check) or comes from
    where there are no such addresses (UNSPEC, UNIX); the connection's own address counts then. `length` is how many
    bytes the header took.
    """

    source: bytes | None
    length: int


def read_header(data: bytes) -> ProxyHeader | None:
    """Return the header that a connection begins with, or None while `data`, its first bytes, is not all of it.

    Raises WireError as soon as these bytes can become no header of at most MAX_HEADER bytes. TLVs are skipped.
    """
    if not SIGNATURE.startswith(data[: len(SIGNATURE)]):
        raise WireError("no PROXY protocol header")
    if len(data) <= len(SIGNATURE):
        return None
    command = _command(data[12])
    if len(data) < FIXED_LENGTH:
        return None
    length = FIXED_LENGTH + int.from_bytes(data[14:16], "big")
    if length > MAX_HEADER:
        raise WireError(f"a PROXY protocol header of {length} bytes, more than {MAX_HEADER}")
    # What a LOCAL header says of addresses is to be ignored, whatever it is.
    transport = _transport(data[13]) if command is Command.PROXY else Transport.UNSPEC
    if length < FIXED_LENGTH + _ADDRESSES[transport]:
        raise WireError(f"a PROXY protocol header of {length} bytes, too short for its addresses")
    if len(data) < length:
        return None
    return ProxyHeader(_source(transport, data), length)


def _command(byte: int) -> Command:
    try:
        return Command(byte)
    except ValueError:
        raise WireError(f"PROXY protocol version and command {byte:#04x} are unknown") from None


def _transport(byte: int) -> Transport:
    try:
        return Transport(byte)
    except ValueError:
        raise WireError(f"PROXY protocol family and transport {byte:#04x} cannot be a TCP connection's") from None


def _source(transport: Transport, data: bytes) -> bytes | None:
    if transport not in _SOURCE:
        return None
    return _unmapped(data[FIXED_LENGTH : FIXED_LENGTH + _SOURCE[transport]])


def _unmapped(packed: bytes) -> bytes:
    # IPv4-mapped: RFC 4291 section 2.5.5.2.
    return packed[12:] if len(packed) == 16 and packed.startswith(_V4_MAPPED) else packed
