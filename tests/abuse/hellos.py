"""ClientHellos as no TLS library makes them (RFC 8446 section 4.1.2), and the records that carry them."""

import os
import struct
from collections.abc import Sequence

X25519, SECP256R1, UNKNOWN_GROUP = 0x001D, 0x0017, 0x2A2A
AES_128_GCM_SHA256 = 0x1301
HANDSHAKE, APPLICATION_DATA, CHANGE_CIPHER_SPEC, ALERT = 22, 23, 20, 21


def client_hello(
    names: Sequence[bytes] = (b"localhost",),
    alpn: Sequence[bytes] = (b"ntske/1",),
    groups: Sequence[int] = (X25519,),
    shares: Sequence[int] = (X25519,),
    signatures: Sequence[int] = (0x0403, 0x0804),
    versions: Sequence[int] = (0x0304,),
    ciphers: Sequence[int] = (AES_128_GCM_SHA256,),
    more: bytes = b"",
) -> bytes:
    """Return the handshake message; `more` are extensions in bytes, behind the others."""
    extensions = b"".join(
        [
            _extension(0, _vector(2, b"".join(b"\x00" + _vector(2, each) for each in names))) if names else b"",
            _extension(10, _vector(2, _numbers(groups))),
            _extension(13, _vector(2, _numbers(signatures))),
            _extension(16, _vector(2, b"".join(_vector(1, each) for each in alpn))) if alpn else b"",
            _extension(43, _vector(1, _numbers(versions))),
            _extension(51, _vector(2, b"".join(_number(each) + _vector(2, os.urandom(32)) for each in shares))),
            more,
        ]
    )
    session = _vector(1, os.urandom(32))
    body = b"\x03\x03" + os.urandom(32) + session + _vector(2, _numbers(ciphers)) + b"\x01\x00"
    return message(1, body + _vector(2, extensions))


def early_data_and_ticket() -> bytes:
    """Return extensions that claim a ticket and announce early data (RFC 8446 sections 4.2.10, 4.2.11)."""
    identity = _vector(2, os.urandom(200)) + b"\x00\x00\x00\x00"
    ticket = _vector(2, identity) + _vector(2, _vector(1, os.urandom(32)))
    return _extension(42, b"") + _extension(45, b"\x01\x01") + _extension(41, ticket)


def message(kind: int, body: bytes, length: int | None = None) -> bytes:
    """Return a handshake message, which may lie about its length."""
    return bytes([kind]) + (len(body) if length is None else length).to_bytes(3, "big") + body


def records(data: bytes, size: int = 1 << 14, kind: int = HANDSHAKE) -> bytes:
    """Return data in records of at most `size` bytes each."""
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(struct.pack(">BHH", kind, 0x0301, len(piece)) + piece for piece in pieces)


def _extension(number: int, body: bytes) -> bytes:
    return _number(number) + _vector(2, body)


def _vector(width: int, body: bytes) -> bytes:
    return len(body).to_bytes(width, "big") + body


def _number(number: int) -> bytes:
    return number.to_bytes(2, "big")


def _numbers(numbers: Sequence[int]) -> bytes:
    return b"".join(map(_number, numbers))
