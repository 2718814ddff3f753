"""NTPv4 packets: header (RFC 5905), extension fields (RFC 7822) and the NTS fields (RFC 8915 section 5)."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final

from ntspool.errors import WireError
from ntspool.wire.reader import Reader

HEADER_LENGTH: Final = 48
"""Length of a packet's header, in bytes; an NTP packet without anything else has just this length."""

FIELD_MINIMUM: Final = 16
"""Least length of an extension field that is not encrypted, in bytes (RFC 7822 section 7.5)."""

_HEADER = Struct(">BBbbII4sQQQQ")
# RFC 7822 section 7.5.1.4: the least length of a field with nothing behind it; anything shorter is a MAC.
_LAST_FIELD_MINIMUM = 28
# RFC 7822 section 7.5.1.4: crypto-NAK, 16-byte digest, 20-byte digest, each behind a 4-byte key id.
_MAC_LENGTHS = (4, 20, 24)
_UNIX_EPOCH = 2_208_988_800 << 32
_ERA = 1 << 64

_UNSYNCHRONIZED_LEAP = 3
_MAX_STRATUM = 15


class Mode(IntEnum):
    """The association modes that this project speaks (RFC 5905 figure 10)."""

    CLIENT = 3
    SERVER = 4


class FieldType(IntEnum):
    """The extension fields of NTS (RFC 8915 section 7.8)."""

    UNIQUE_IDENTIFIER = 0x0104
    NTS_COOKIE = 0x0204
    NTS_COOKIE_PLACEHOLDER = 0x0304
    NTS_AUTHENTICATOR = 0x0404


@dataclass(frozen=True, slots=True)
class Header:
    """The fixed 48 bytes of a packet (RFC 5905 section 7.3), every number as it stands on the wire.

    Timestamps are unsigned 64-bit integers in units of 2**-32 seconds (see `unix_seconds`), root delay and
    dispersion unsigned 32-bit integers in units of 2**-16 seconds, `poll` and `precision` signed log2 seconds.
    """

    mode: int
    leap: int = 0
    version: int = 4
    stratum: int = 0
    poll: int = 0
    precision: int = 0
    root_delay: int = 0
    root_dispersion: int = 0
    reference_id: bytes = bytes(4)
    reference_timestamp: int = 0
    origin_timestamp: int = 0
    receive_timestamp: int = 0
    transmit_timestamp: int = 0

    @property
    def root_distance(self) -> float:
        """Half the root delay plus the root dispersion, in seconds: how far off the sender may be itself."""
        return (self.root_delay / 2 + self.root_dispersion) / 65536

    @property
    def synchronized(self) -> bool:
        """Whether the server says that its clock is good: leap is not 3, stratum is 1 to 15 (RFC 5905 figure 11)."""
        return self.leap != _UNSYNCHRONIZED_LEAP and 1 <= self.stratum <= _MAX_STRATUM

    @property
    def kiss_code(self) -> str | None:
        """The kiss code if this is a kiss-o'-death (stratum 0, RFC 5905 section 7.4), else None.

        Safe to print: a code that is not made of ASCII letters and digits is given as hexadecimal digits. Stratum 0
        without any code is no kiss: so chronyd answers as long as it has no time to serve.
        """
        code = self.reference_id.rstrip(b"\0")
        if self.stratum != 0 or not code:
            return None
        return code.decode("ascii") if code.isalnum() else self.reference_id.hex()


@dataclass(frozen=True, slots=True)
class ExtensionField:
    """One extension field; a decoded `body` still has the padding that filled it up to 4 bytes (RFC 7822)."""

    type: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Packet:
    """A whole packet; `authenticator_offset` is where the first NTS Authenticator starts, None without one.

    The bytes before that offset are the associated data of its AEAD (RFC 8915 section 5.6). `mac` is a legacy
    MAC with its key id; in NTPv3, which has no extension fields, it is whatever follows the header.
    """

    header: Header
    extensions: tuple[ExtensionField, ...] = ()
    mac: bytes = b""
    authenticator_offset: int | None = None

    def bodies(self, field_type: FieldType) -> list[bytes]:
        """Return the bodies of all extension fields of one type, in order."""
        return [field.body for field in self.extensions if field.type == field_type]


@dataclass(frozen=True, slots=True)
class Authenticator:
    """The body of an NTS Authenticator and Encrypted Extension Fields field (RFC 8915 section 5.6).

    `padding` counts the bytes of Additional Padding.
    """

    nonce: bytes
    ciphertext: bytes
    padding: int = 0

    @property
    def nonce_room(self) -> int:
        """Bytes that a response as long as this may use for its own nonce (RFC 8915 section 5.6)."""
        return _padded(len(self.nonce)) + self.padding


def ntp_timestamp(seconds: float) -> int:
    """Return Unix `seconds` as a 64-bit NTP timestamp of whatever era; the era number is not kept."""
    return (round(seconds * 2**32) + _UNIX_EPOCH) % _ERA


def unix_seconds(timestamp: int, near: float) -> float:
    """Return a 64-bit NTP timestamp as Unix seconds, of the era that puts it closest to the Unix time `near`.

    The format cannot tell 1900 from 2036 (RFC 5905 section 6): hand in the local clock, or any time that is
    less than 68 years off.
    """
    here = round(near * 2**32)
    ahead = (timestamp - here - _UNIX_EPOCH) % _ERA
    return (here + ahead - (_ERA if ahead >= _ERA // 2 else 0)) / 2**32


def decode_header(data: bytes) -> Header:
    """Decode the first 48 bytes of a packet; raises WireError when there are fewer."""
    if len(data) < HEADER_LENGTH:
        raise WireError(f"an NTP packet has at least {HEADER_LENGTH} bytes, not {len(data)}")
    flags, *numbers = _HEADER.unpack_from(data)
    return Header(flags & 7, flags >> 6, flags >> 3 & 7, *numbers)


def encode_header(header: Header) -> bytes:
    """Encode a header into its 48 bytes; the fields must be in range."""
    return _HEADER.pack(
        header.leap << 6 | header.version << 3 | header.mode,
        header.stratum,
        header.poll,
        header.precision,
        header.root_delay,
        header.root_dispersion,
        header.reference_id,
        header.reference_timestamp,
        header.origin_timestamp,
        header.receive_timestamp,
        header.transmit_timestamp,
    )


def decode_packet(data: bytes) -> Packet:
    """Decode a whole NTPv3 or NTPv4 datagram; raises WireError when it is malformed or of another version.

    Field bodies are not looked into: see `decode_authenticator`.
    """
    header = decode_header(data)
    if header.version not in (3, 4):
        raise WireError(f"NTP version {header.version} is not spoken here")
    if header.version == 3:
        return Packet(header, mac=data[HEADER_LENGTH:])
    reader = Reader(data)
    reader.take(HEADER_LENGTH)
    extensions = []
    authenticator_offset = None
    # RFC 7822 section 7.5.1.4: what is too short to be the last field is a MAC.
    while reader.remaining >= _LAST_FIELD_MINIMUM:
        offset = reader.position
        extensions.append(_take_field(reader, FIELD_MINIMUM))
        if extensions[-1].type == FieldType.NTS_AUTHENTICATOR and authenticator_offset is None:
            authenticator_offset = offset
    mac = reader.rest()
    if mac and len(mac) not in _MAC_LENGTHS:
        raise WireError(f"{len(mac)} bytes behind the last extension field are no MAC")
    return Packet(header, tuple(extensions), mac, authenticator_offset)


def encode_packet(packet: Packet) -> bytes:
    """Encode a packet, fields zero-padded to their least lengths; `authenticator_offset` is not looked at."""
    fields = [encode_field(field, FIELD_MINIMUM) for field in packet.extensions]
    if fields and not packet.mac:
        fields[-1] = encode_field(packet.extensions[-1], _LAST_FIELD_MINIMUM)
    return b"".join((encode_header(packet.header), *fields, packet.mac))


def encode_field(field: ExtensionField, minimum: int = 4) -> bytes:
    """Encode one extension field, zero-padded to a multiple of 4 and to `minimum` bytes (RFC 7822 section 7.5)."""
    length = max(minimum, 4 + _padded(len(field.body)))
    start = field.type.to_bytes(2, "big") + length.to_bytes(2, "big")
    return start + field.body.ljust(length - 4, b"\0")


def decode_fields(plaintext: bytes) -> tuple[ExtensionField, ...]:
    """Decode the decrypted content of an authenticator: fields of any length (RFC 8915 section 5.6).

    Raises WireError when it is malformed.
    """
    reader = Reader(plaintext)
    fields = []
    while reader.remaining:
        fields.append(_take_field(reader, 4))
    return tuple(fields)


def encode_fields(fields: Iterable[ExtensionField]) -> bytes:
    """Encode the fields that an authenticator is to encrypt; the opposite of `decode_fields`."""
    return b"".join(encode_field(field) for field in fields)


def decode_authenticator(body: bytes) -> Authenticator:
    """Decode an authenticator's body; raises WireError when nonce and ciphertext do not fit into it."""
    reader = Reader(body)
    nonce_length, ciphertext_length = reader.u16(), reader.u16()
    nonce = reader.take(_padded(nonce_length))[:nonce_length]
    ciphertext = reader.take(_padded(ciphertext_length))[:ciphertext_length]
    return Authenticator(nonce, ciphertext, reader.remaining)


def encode_authenticator(authenticator: Authenticator) -> ExtensionField:
    """Encode an authenticator into its extension field."""
    nonce, ciphertext = authenticator.nonce, authenticator.ciphertext
    body = b"".join(
        (
            len(nonce).to_bytes(2, "big"),
            len(ciphertext).to_bytes(2, "big"),
            nonce.ljust(_padded(len(nonce)), b"\0"),
            ciphertext.ljust(_padded(len(ciphertext)), b"\0"),
            bytes(authenticator.padding),
        )
    )
    return ExtensionField(FieldType.NTS_AUTHENTICATOR, body)


def _take_field(reader: Reader, minimum: int) -> ExtensionField:
    field_type, length = reader.u16(), reader.u16()
    if length < minimum or length % 4:
        raise WireError(f"an extension field cannot have the length {length}")
    return ExtensionField(field_type, reader.take(length - 4))


def _padded(length: int) -> int:
    return (length + 3) & ~3
