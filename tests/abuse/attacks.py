"""What attackers say, connection by connection: each function is one attack.

It is given a socket that is connected or about to be, and the number of the connection, and yields pieces of bytes,
each to be sent when the one before has been taken.
"""

import os
import socket
from collections.abc import Callable, Iterator
from itertools import repeat

from ntspool.wire.records import Record
from tests.abuse.hellos import (
    ALERT,
    CHANGE_CIPHER_SPEC,
    HANDSHAKE,
    SECP256R1,
    UNKNOWN_GROUP,
    client_hello,
    early_data_and_ticket,
    message,
    records,
)
from tests.abuse.inside import Inside
from tests.proxying import block, header

Attack = Callable[[socket.socket, int], Iterator[bytes]]

REQUEST = bytes.fromhex("80010002 0000 80040002 000f 80000000")
_BATCH = 150
_VERSION_1 = b"PROXY TCP4 203.0.113.9 192.0.2.1 40000 4460\r\n"


def silence(_socket: socket.socket, _number: int) -> Iterator[bytes]:
    yield from ()


def half_a_hello(_socket: socket.socket, _number: int) -> Iterator[bytes]:
    yield records(client_hello())[:100]


def trickled_hello(_socket: socket.socket, _number: int) -> Iterator[bytes]:
    for byte in records(client_hello()):
        yield bytes([byte])


def nearly_a_long_hello(_socket: socket.socket, _number: int) -> Iterator[bytes]:
    """All but the last byte of the longest record: what a gateway would keep most of."""
    yield records(client_hello(more=bytes(16000)))[:-1]


def half_open(_socket: socket.socket, _number: int) -> Iterator[bytes]:
    yield records(client_hello())


def garbage(_socket: socket.socket, number: int) -> Iterator[bytes]:
    yield (
        os.urandom(1500),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + os.urandom(35),
        b"\x16\x03\x01\x40\x00" + os.urandom(1 << 14),
        b"\x17\x03\x03\x00\x20" + os.urandom(32),
        b"SSH-2.0-OpenSSH_9.9\r\n",
    )[number % 6]


def oversized_hello(_socket: socket.socket, number: int) -> Iterator[bytes]:
    """Claims of 64 KiB and 16 MiB, whole records of them, and records beyond what TLS allows."""
    claimed = (1 << 16, (1 << 24) - 1)[number % 2]
    if number % 3 == 0:
        yield b"\x16\x03\x01\xff\xff" + bytes(1 << 16)
        return
    yield records(message(1, bytes((1 << 14) - 4), claimed))
    yield from repeat(records(bytes(1 << 14)), claimed >> 14)


def hello_in_small_records(_socket: socket.socket, number: int) -> Iterator[bytes]:
    yield records(client_hello(more=bytes(0)), (1, 7, 100)[number % 3])


def names_and_protocols(_socket: socket.socket, number: int) -> Iterator[bytes]:
    """A server name that nobody has asked for before, of up to 255 bytes, and one of a hundred kinds of ALPN."""
    kind = number % 100
    name = f"{number:x}-{os.urandom(8).hex()}".encode()
    names = [
        (name + b".localhost",),
        (name.ljust(255, b"x"),),
        (name, name),
        (b"\x1b[2J" + name,),
        (b"\xff" + name,),
        (b"",),
        (name + b"\0localhost",),
        (),
    ][kind % 8]
    protocols = [
        (b"ntske/1",),
        (os.urandom(kind + 1),),
        (b"",),
        (b"h2", b"http/1.1", b"ntske/1"),
        (b"ntske/1", b"ntske/1"),
        (b"NTSKE/1",),
        (b"ntske/1\0",),
        tuple(bytes([65 + index % 26]) * (index + 1) for index in range(kind)),
        (bytes(255),) * (kind + 1),
        (b"ntske/%d" % kind,),
    ][kind // 10]
    yield records(client_hello(names, protocols))


def other_parameters(_socket: socket.socket, number: int) -> Iterator[bytes]:
    """A group that must be asked for anew, or is unknown; signatures, versions, ciphers of which we have none."""
    hello = (
        client_hello(groups=[SECP256R1], shares=[]),
        client_hello(groups=[UNKNOWN_GROUP, SECP256R1], shares=[UNKNOWN_GROUP]),
        client_hello(groups=[UNKNOWN_GROUP], shares=[UNKNOWN_GROUP]),
        client_hello(signatures=[0x0101]),
        client_hello(versions=[0x0303, 0x0302]),
        client_hello(ciphers=[0x1304, 0x00FF]),
        client_hello(more=early_data_and_ticket()),
        client_hello(more=bytes.fromhex("003100000000000101")),
    )[number % 8]
    yield records(hello) + records(hello) * (number % 2)
    if number % 8 == 6:
        yield from repeat(records(os.urandom(1000), kind=23), 64)


def renegotiation(connected: socket.socket, _number: int) -> Iterator[bytes]:
    inside = Inside(connected)
    yield from iter(lambda: inside.seal(client_hello(), HANDSHAKE), None)


def key_updates(connected: socket.socket, _number: int) -> Iterator[bytes]:
    inside = Inside(connected)
    yield from iter(lambda: b"".join(inside.key_update() for _ in range(_BATCH)), None)


def key_updates_after_the_request(connected: socket.socket, _number: int) -> Iterator[bytes]:
    inside = Inside(connected)
    yield inside.seal(REQUEST)
    yield from iter(lambda: b"".join(inside.key_update() for _ in range(_BATCH)), None)


def key_updates_and_crumbs(connected: socket.socket, _number: int) -> Iterator[bytes]:
    """A request in records of a byte each, new keys before each of them."""
    inside = Inside(connected)
    for byte in bytes.fromhex("0fff 3f00") + bytes(0x3F00):
        yield inside.key_update() + inside.seal(bytes([byte]))


def empty_records(connected: socket.socket, number: int) -> Iterator[bytes]:
    """Records of nothing, bare ChangeCipherSpecs and warnings, in turn by connection."""
    inside = Inside(connected)
    bare = records(b"\x01", kind=CHANGE_CIPHER_SPEC)
    for _ in repeat(None):
        yield [inside.seal(b""), bare, inside.seal(b"\x01\x5a", ALERT)][number % 3] * (_BATCH if number % 3 == 1 else 1)


def change_cipher_specs_first(_socket: socket.socket, _number: int) -> Iterator[bytes]:
    yield from repeat(records(b"\x01", kind=CHANGE_CIPHER_SPEC) * _BATCH)


def unasked_messages(connected: socket.socket, number: int) -> Iterator[bytes]:
    """A client's certificate, Finished, a ticket, EndOfEarlyData, an unknown one: nobody has asked."""
    inside = Inside(connected)
    kind = (11, 20, 4, 5, 99)[number % 5]
    yield from iter(lambda: inside.seal(message(kind, os.urandom(1000)), HANDSHAKE), None)


def never_reads(connected: socket.socket, _number: int) -> Iterator[bytes]:
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    yield Inside(connected).seal(REQUEST)


def endless_requests(connected: socket.socket, number: int) -> Iterator[bytes]:
    """Requests of records that are as long as can be, or empty, or unknown, and never end."""
    inside = Inside(connected)
    piece = (
        Record(0x0FFF, bytes((1 << 16) - 1), critical=False).encode(),
        Record(0x0FFF, b"", critical=False).encode() * 4000,
        Record(0x0FFF, bytes(60), critical=False).encode() * 100,
        bytes(4),
    )[number % 4]
    pieces = [piece[start : start + (1 << 14)] for start in range(0, len(piece), 1 << 14)]
    for _ in repeat(None):
        for each in pieces:
            yield inside.seal(each)


def one_record_at_a_time(connected: socket.socket, _number: int) -> Iterator[bytes]:
    """As slow as can be, within the deadline."""
    inside = Inside(connected)
    yield from iter(lambda: inside.seal(Record(0x0FFF, b"", critical=False).encode()), None)


def talks_on(connected: socket.socket, _number: int) -> Iterator[bytes]:
    """A good request, and then noise without end."""
    inside = Inside(connected)
    yield inside.seal(REQUEST)
    yield from repeat(os.urandom(4096))


def proxy_headers(_socket: socket.socket, number: int) -> Iterator[bytes]:
    """Version 1, one with the longest extension, one that never ends, one that comes byte by byte, a good one."""
    kind = number % 5
    if kind == 0:
        yield _VERSION_1
    elif kind == 1:
        yield header("203.0.113.9", tlvs=b"\x04\xff\xf0" + bytes(0xFFF0))
    elif kind == 2:
        yield block(1, 0x11, bytes(12))[:14] + b"\xff\xff"
        yield from repeat(bytes(4096))
    elif kind == 3:
        for byte in header("203.0.113.9"):
            yield bytes([byte])
    else:
        yield header("127.200.1.1") + records(client_hello())
