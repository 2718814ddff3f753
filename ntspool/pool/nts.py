"""NTS-protected NTP, both roles, without I/O (RFC 8915 section 5.7)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from ntspool.errors import WireError
from ntspool.pool.ciphers import cipher_for
from ntspool.pool.cookies import Association
from ntspool.wire.ntp import (
    FIELD_MINIMUM,
    Authenticator,
    ExtensionField,
    FieldType,
    Header,
    Mode,
    Packet,
    decode_authenticator,
    decode_fields,
    decode_packet,
    encode_authenticator,
    encode_field,
    encode_fields,
    encode_header,
    encode_packet,
    unix_seconds,
)

UNIQUE_ID_MINIMUM: Final = 32
"""Least length of a unique identifier, in bytes (RFC 8915 section 5.3)."""

MAXIMUM_PLACEHOLDERS: Final = 7
"""Most cookie placeholders of a request: eight cookies are what a client keeps (RFC 8915 section 5.7)."""

NTS_NAK: Final = "NTSN"
"""The kiss code of a server that could not verify a request (RFC 8915 section 5.7)."""

# The field's own header, the two lengths in it, and the tag, which has 16 bytes in every AEAD of NTS.
_AUTHENTICATOR_OVERHEAD = 4 + 4 + 16


@dataclass(frozen=True, slots=True)
class Request:
    """A sealed request: send `data`, keep the rest to verify what comes back."""

    data: bytes = field(repr=False)
    association: Association
    unique_id: bytes
    transmit_timestamp: int


class Refusal(StrEnum):
    """Why a well-formed packet is no answer to the request."""

    NAK = "NTS NAK"
    KISS = "kiss-o'-death"
    UNPROTECTED = "not protected by NTS"
    BAD_AUTHENTICATOR = "bad authenticator"
    UNIQUE_ID_MISMATCH = "unique identifier of another request"
    ORIGIN_MISMATCH = "origin timestamp of another request"


@dataclass(frozen=True, slots=True)
class Refused:
    """A packet that brings no time.

    NAK and KISS come from whoever received the request; act on them after waiting a while for something
    better, since only `authentic` ones certainly come from the server (RFC 8915 section 5.7). Every other reason
    can be anybody's forgery: drop the packet and wait on, and report the reason if nothing better comes.
    """

    reason: Refusal
    kiss_code: str | None = None
    authentic: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    """A verified answer: the server's header and the new cookies, in its order; use each cookie once.

    The header can still say that the server is unsynchronised (leap 3, stratum 16): look before using the time.
    """

    header: Header
    cookies: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a volley says, in seconds: the server's clock minus ours, and the time spent on the network."""

    offset: float
    delay: float


def build_request(
    association: Association,
    cookie: bytes,
    *,
    unique_id: bytes,
    nonce: bytes,
    placeholders: int,
    transmit_timestamp: int,
) -> Request:
    """Seal a client's request (RFC 8915 section 5.7).

    `cookie` must not be used again; `unique_id` is at least 32 new random bytes, `nonce` is
    `association.aead.nonce_length` new random bytes, `placeholders` (0 to 7) says how many cookies are missing
    besides this one. `transmit_timestamp` may be 64 random bits, so that the client's clock is not told to
    everyone; the time of sending belongs into `measure`. Raises ValueError for what is out of these bounds.
    """
    if len(unique_id) < UNIQUE_ID_MINIMUM:
        raise ValueError(f"a unique identifier has at least {UNIQUE_ID_MINIMUM} bytes, not {len(unique_id)}")
    if not 0 <= placeholders <= MAXIMUM_PLACEHOLDERS:
        raise ValueError(f"a request has 0 to {MAXIMUM_PLACEHOLDERS} placeholders, not {placeholders}")
    placeholder = ExtensionField(FieldType.NTS_COOKIE_PLACEHOLDER, bytes(len(cookie)))
    clear = _clear(
        Header(Mode.CLIENT, transmit_timestamp=transmit_timestamp),
        ExtensionField(FieldType.UNIQUE_IDENTIFIER, unique_id),
        ExtensionField(FieldType.NTS_COOKIE, cookie),
        *[placeholder] * placeholders,
    )
    data = _seal(association, association.c2s.reveal(), clear, nonce, b"")
    return Request(data, association, unique_id, transmit_timestamp)


def read_response(request: Request, data: bytes) -> Response | Refused:
    """Verify a datagram that may answer `request`; raises WireError when it is malformed.

    A WireError means the same as a Refused that anybody can forge: drop the packet and wait on.
    """
    packet = decode_packet(data)
    if packet.header.mode != Mode.SERVER:
        raise WireError(f"mode {packet.header.mode} does not answer a client")
    unique_ids = packet.bodies(FieldType.UNIQUE_IDENTIFIER)
    if unique_ids and unique_ids != [request.unique_id]:
        return Refused(Refusal.UNIQUE_ID_MISMATCH)
    if packet.header.origin_timestamp != request.transmit_timestamp:
        return Refused(Refusal.ORIGIN_MISMATCH)
    if packet.authenticator_offset is None:
        kiss_code = packet.header.kiss_code if unique_ids else None
        return Refused(Refusal.UNPROTECTED) if kiss_code is None else _kiss(kiss_code, authentic=False)
    if not unique_ids:
        return Refused(Refusal.UNIQUE_ID_MISMATCH)
    return _open_response(request.association, packet, data)


def measure(header: Header, sent: float, received: float) -> Measurement:
    """Compute offset and delay of a volley (RFC 5905 section 8).

    `header` is the verified response's; `sent` and `received` are the Unix times, in seconds, at which the
    request left and the response came. The delay can come out slightly negative on a very short path.
    """
    server_received = unix_seconds(header.receive_timestamp, sent)
    server_sent = unix_seconds(header.transmit_timestamp, received)
    offset = ((server_received - sent) + (server_sent - received)) / 2
    return Measurement(offset, (received - sent) - (server_sent - server_received))


@dataclass(frozen=True, slots=True)
class OpenedRequest:
    """A request that verified: answer it with `cookies_wanted` new cookies (1 to 8) by `seal_response`."""

    header: Header
    unique_id: bytes
    association: Association
    cookies_wanted: int
    length: int


@dataclass(frozen=True, slots=True)
class UnverifiedRequest:
    """A well-formed request whose cookie or authenticator does not verify: answer it by `build_nak`."""

    header: Header
    unique_id: bytes


def open_request(
    packet: Packet, data: bytes, open_cookie: Callable[[bytes], Association]
) -> OpenedRequest | UnverifiedRequest:
    """Open a client's NTS-protected request (RFC 8915 section 5.7); `packet` is `decode_packet(data)`.

    `open_cookie` returns what a cookie carries, or raises WireError. Raises WireError for a request that a
    server has to drop: not exactly one unique identifier, cookie and authenticator, the latter last, too little
    padding, or placeholders shorter than the cookie.
    """
    unique_id = _only(packet, FieldType.UNIQUE_IDENTIFIER)
    if len(unique_id) < UNIQUE_ID_MINIMUM:
        raise WireError(f"a unique identifier of {len(unique_id)} bytes is too short")
    cookie = _only(packet, FieldType.NTS_COOKIE)
    placeholders = _placeholders(packet.extensions, len(cookie))
    authenticator = _last_authenticator(packet)
    try:
        association = open_cookie(cookie)
    except WireError:
        return UnverifiedRequest(packet.header, unique_id)
    if authenticator.nonce_room < association.aead.nonce_length:
        raise WireError("the authenticator leaves too little room for the server's nonce")
    try:
        plaintext = _open(association, association.c2s.reveal(), authenticator, data[: packet.authenticator_offset])
    except WireError:
        return UnverifiedRequest(packet.header, unique_id)
    placeholders += _placeholders(decode_fields(plaintext), len(cookie))
    wanted = 1 + min(placeholders, MAXIMUM_PLACEHOLDERS)
    return OpenedRequest(packet.header, unique_id, association, wanted, len(data))


def seal_response(request: OpenedRequest, header: Header, cookies: Sequence[bytes], nonce: bytes) -> bytes:
    """Seal a server's response; `nonce` is `request.association.aead.nonce_length` new random bytes.

    The header must carry the request's transmit timestamp as its origin. Of `cookies`, all of one length, only
    as many are sent as fit into the request's length; raises WireError when that is none.
    """
    clear = _clear(header, ExtensionField(FieldType.UNIQUE_IDENTIFIER, request.unique_id))
    fields = [ExtensionField(FieldType.NTS_COOKIE, cookie) for cookie in cookies]
    without_cookies = len(clear) + _AUTHENTICATOR_OVERHEAD + len(nonce)
    fitting = max(0, request.length - without_cookies) // len(encode_field(fields[0]))
    if not fitting:
        raise WireError("the request is too short for a response with a cookie")
    return _seal(request.association, request.association.s2c.reveal(), clear, nonce, encode_fields(fields[:fitting]))


def build_nak(request: UnverifiedRequest, header: Header) -> bytes:
    """Build the NTS NAK that answers `request`; `header` is as for a response, stratum and code are set here."""
    # Leap 3 keeps a client that knows no kiss codes from taking the time of a packet that proves nothing.
    kiss = replace(header, leap=3, stratum=0, reference_id=NTS_NAK.encode())
    return encode_packet(Packet(kiss, (ExtensionField(FieldType.UNIQUE_IDENTIFIER, request.unique_id),)))


def _open_response(association: Association, packet: Packet, data: bytes) -> Response | Refused:
    authenticator = _last_authenticator(packet)
    try:
        plaintext = _open(association, association.s2c.reveal(), authenticator, data[: packet.authenticator_offset])
    except WireError:
        return Refused(Refusal.BAD_AUTHENTICATOR)
    if packet.header.kiss_code is not None:
        return _kiss(packet.header.kiss_code, authentic=True)
    fields = decode_fields(plaintext)
    return Response(packet.header, tuple(each.body for each in fields if each.type == FieldType.NTS_COOKIE))


def _kiss(code: str, *, authentic: bool) -> Refused:
    # A NAK is by its nature not authentic: an authentic one is some other use of the code.
    nak = code == NTS_NAK and not authentic
    return Refused(Refusal.NAK if nak else Refusal.KISS, code, authentic)


def _only(packet: Packet, field_type: FieldType) -> bytes:
    bodies = packet.bodies(field_type)
    if len(bodies) != 1:
        raise WireError(f"{len(bodies)} fields of type {field_type.name} where one belongs")
    return bodies[0]


def _placeholders(fields: Sequence[ExtensionField], cookie_length: int) -> int:
    bodies = [each.body for each in fields if each.type == FieldType.NTS_COOKIE_PLACEHOLDER]
    if any(len(body) < cookie_length for body in bodies):
        raise WireError("a cookie placeholder is shorter than the cookie")
    return len(bodies)


def _last_authenticator(packet: Packet) -> Authenticator:
    body = _only(packet, FieldType.NTS_AUTHENTICATOR)
    if packet.extensions[-1].type != FieldType.NTS_AUTHENTICATOR or packet.mac:
        raise WireError("the NTS authenticator is not the last field")
    return decode_authenticator(body)


def _open(association: Association, key: bytes, authenticator: Authenticator, associated: bytes) -> bytes:
    cipher = cipher_for(association.aead, key)
    return cipher.open(authenticator.nonce, authenticator.ciphertext, associated)


def _seal(association: Association, key: bytes, clear: bytes, nonce: bytes, plaintext: bytes) -> bytes:
    # Nonces of the AEAD's own length only: then no Additional Padding is ever due (RFC 8915 section 5.6).
    if len(nonce) != association.aead.nonce_length:
        raise ValueError(f"{association.aead.name} takes a nonce of {association.aead.nonce_length} bytes")
    ciphertext = cipher_for(association.aead, key).seal(nonce, plaintext, clear)
    return clear + encode_field(encode_authenticator(Authenticator(nonce, ciphertext)))


def _clear(header: Header, *fields: ExtensionField) -> bytes:
    # Not encode_packet: its greater least length of a last field is not due before an authenticator.
    return encode_header(header) + b"".join(encode_field(each, FIELD_MINIMUM) for each in fields)
