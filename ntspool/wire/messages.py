"""NTS-KE messages: the request, the response and the refusal, to and from their records (RFC 8915 section 4)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache

from ntspool.errors import ErrorCode, WireError
from ntspool.wire import records
from ntspool.wire.aead import Aead
from ntspool.wire.records import END_OF_MESSAGE, PROTOCOL_NTPV4, Record, RecordType

COOKIES = 8
"""Cookies in a response (RFC 8915 section 4.1.6); NTPsec before 1.2.5 fails on a ninth."""

MAX_RESPONSE = 2048
"""NTPsec's client reads no more."""

DEFAULT_NTP_PORT = 123

MAX_DENIALS = 64
"""Servers that a request can deny; more are not looked at. ntpd-rs denies those in use, four unless told otherwise."""

MAX_SERVER_NAME = 255
"""Longest DNS name (RFC 1035 section 2.3.4): a longer one in a denial is nobody's."""

_NOT_IN_REQUESTS = (RecordType.ERROR, RecordType.WARNING, RecordType.NEW_COOKIE)
_NEGOTIATED = (
    RecordType.NEXT_PROTOCOL,
    RecordType.AEAD_ALGORITHM,
    RecordType.NTPV4_SERVER,
    RecordType.NTPV4_PORT,
    RecordType.COMPLIANT_128GCM_EXPORT,
)


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for; `aeads` are as offered, in its order, and may hold numbers we do not know.

    `compliant_128gcm` says that chrony's record 1024 was there; `server` and `port` are wishes. `denied` are servers
    that the client wants none of, as an earlier response named them. `aead_critical` is how the AEAD record was marked:
    RFC 8915 section 4.1.5 leaves that open, and it tells clients apart.
    """

    protocols: tuple[int, ...]
    aeads: tuple[int, ...]
    compliant_128gcm: bool = False
    server: str | None = None
    port: int | None = None
    denied: tuple[str, ...] = ()
    aead_critical: bool = True

    @property
    def usable_aeads(self) -> tuple[Aead, ...]:
        """The offered AEADs that we may answer with, in the client's order.

        AES-128-GCM-SIV only for clients that sent record 1024: chrony 4.4 to 4.6.0 would export other keys.
        """
        return _usable_aeads(self.aeads, self.compliant_128gcm)

    def encode(self) -> bytes:
        """Return the message as an NTS-KE client sends it."""
        aead = replace(records.aead_algorithm(self.aeads), critical=self.aead_critical)
        message = [records.next_protocol(self.protocols), aead]
        if self.compliant_128gcm:
            message.append(records.COMPLIANT_128GCM_EXPORT)
        if self.server is not None:
            message.append(records.ntpv4_server(self.server, critical=False))
        if self.port is not None:
            message.append(records.ntpv4_port(self.port, critical=False))
        message.extend(map(records.ntp_server_deny, self.denied))
        return encode_message(message)


@dataclass(frozen=True, slots=True)
class Response:
    """A server's consent: what the client needs for NTP.

    `server` is an address without brackets or a DNS name; None means the host that answered, `port` None means 123.
    """

    aead: Aead
    cookies: tuple[bytes, ...]
    server: str | None
    port: int | None = None
    compliant_128gcm: bool = False

    def encode(self) -> bytes:
        """Return the message, inside the subset that every known client accepts.

        Raises ValueError unless the cookies are one to eight of equal length and the message has at most 2048 bytes.
        """
        if not 1 <= len(self.cookies) <= COOKIES or len(set(map(len, self.cookies))) != 1:
            raise ValueError(f"a response carries one to {COOKIES} cookies of equal length")
        head = _response_head(self.aead, self.server, self.port, self.compliant_128gcm)
        cookie_head = _cookie_head(len(self.cookies[0]))
        encoded = head + cookie_head.join((b"", *self.cookies)) + _END
        if len(encoded) > MAX_RESPONSE:
            raise ValueError(f"a response has at most {MAX_RESPONSE} bytes, not {len(encoded)}")
        return encoded


class RefusalReason(Enum):
    """Why a server gave no cookies."""

    ERROR = "error"
    NO_COMMON_PROTOCOL = "no common next protocol"
    NO_COMMON_AEAD = "no common AEAD algorithm"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A server's no; `code` is the number in the Error record and None for the other reasons."""

    reason: RefusalReason
    code: int | None = None

    def encode(self) -> bytes:
        """Return the message: an Error record, or the empty-body answer of RFC 8915 sections 4.1.2 and 4.1.5."""
        if self.reason is RefusalReason.NO_COMMON_PROTOCOL:
            return encode_message([records.next_protocol([])])
        if self.reason is RefusalReason.NO_COMMON_AEAD:
            return encode_message([records.next_protocol([PROTOCOL_NTPV4]), records.aead_algorithm([])])
        return encode_message([records.error(self.code or 0)])


NO_COMMON_PROTOCOL = Refusal(RefusalReason.NO_COMMON_PROTOCOL)
NO_COMMON_AEAD = Refusal(RefusalReason.NO_COMMON_AEAD)


def error_refusal(code: ErrorCode) -> Refusal:
    """Return the refusal that carries `code` in an Error record."""
    return Refusal(RefusalReason.ERROR, code)


def decode_request(message: Sequence[Record]) -> Request:
    """Return what a client asks for, from the records before its End of Message.

    Raises WireError with the code to answer: 0 for a critical record that we do not know, 1 for a request that is
    malformed, that lacks or repeats a record, or that holds a record which only a server sends.
    """
    for record in message:
        if record.type in _NOT_IN_REQUESTS:
            raise WireError(f"record {record.type} in a request")
    denied = [record.text() for record in message if record.type == RecordType.NTP_SERVER_DENY]
    found = sort_records([record for record in message if record.type != RecordType.NTP_SERVER_DENY], _NEGOTIATED)
    protocols = _next_protocol(found).numbers()
    aead = found.get(RecordType.AEAD_ALGORITHM)
    if aead is None and PROTOCOL_NTPV4 in protocols:
        raise WireError("no AEAD Algorithm Negotiation record")
    server, port = found.get(RecordType.NTPV4_SERVER), found.get(RecordType.NTPV4_PORT)
    return Request(
        protocols=protocols,
        aeads=aead.numbers() if aead else (),
        compliant_128gcm=_compliant_128gcm(found),
        server=server.text() if server else None,
        port=port.number() if port else None,
        denied=tuple(name for name in denied[:MAX_DENIALS] if len(name) <= MAX_SERVER_NAME),
        aead_critical=aead.critical if aead else True,
    )


def decode_response(message: Sequence[Record], request: Request) -> Response | Refusal:
    """Return a server's answer to `request`, from the records before its End of Message.

    Raises WireError for an answer that RFC 8915 does not allow, as that of an AEAD which was not offered.
    """
    for record in message:
        if record.type == RecordType.ERROR:
            return Refusal(RefusalReason.ERROR, record.number())
        if record.type == RecordType.WARNING:
            # No warning code is assigned, and unknown ones are errors (RFC 8915 section 4.1.4).
            raise WireError("the server sent a warning")
    cookies = tuple(record.body for record in message if record.type == RecordType.NEW_COOKIE)
    found = sort_records([record for record in message if record.type != RecordType.NEW_COOKIE], _NEGOTIATED)
    protocol = _next_protocol(found)
    if not protocol.body:
        return NO_COMMON_PROTOCOL
    if protocol.number() != PROTOCOL_NTPV4 or PROTOCOL_NTPV4 not in request.protocols:
        raise WireError("the server chose a next protocol that was not offered")
    aead = found.get(RecordType.AEAD_ALGORITHM)
    if aead is None:
        raise WireError("no AEAD Algorithm Negotiation record")
    if not aead.body:
        return NO_COMMON_AEAD
    if aead.number() not in request.aeads or aead.number() not in _AEADS:
        raise WireError(f"the server chose AEAD {aead.number()}, which was not offered")
    if not cookies or not all(cookies):
        raise WireError("the server sent no cookie")
    server, port = found.get(RecordType.NTPV4_SERVER), found.get(RecordType.NTPV4_PORT)
    return Response(
        aead=Aead(aead.number()),
        cookies=cookies,
        server=server.text() if server else None,
        port=port.number() if port else None,
        compliant_128gcm=_compliant_128gcm(found),
    )


_AEADS = frozenset(Aead)


@lru_cache(maxsize=256)
def _usable_aeads(offered: tuple[int, ...], compliant_128gcm: bool) -> tuple[Aead, ...]:
    return tuple(
        Aead(number) for number in offered if number in _AEADS and (number != Aead.AES_128_GCM_SIV or compliant_128gcm)
    )


# What stands before the cookies is the same for all clients that get the same backend.
@lru_cache(maxsize=4096)
def _response_head(aead: Aead, server: str | None, port: int | None, compliant_128gcm: bool) -> bytes:
    message = [records.next_protocol([PROTOCOL_NTPV4]), records.aead_algorithm([aead])]
    if compliant_128gcm:
        message.append(records.COMPLIANT_128GCM_EXPORT)
    if server is not None:
        message.append(records.ntpv4_server(server, critical=True))
    if port is not None:
        message.append(records.ntpv4_port(port, critical=True))
    return b"".join(record.encode() for record in message)


@lru_cache
def _cookie_head(length: int) -> bytes:
    return records.new_cookie(bytes(length)).encode()[:-length]


_END = END_OF_MESSAGE.encode()


def encode_message(message: Iterable[Record]) -> bytes:
    """Return the bytes of a message: its records, and the End of Message behind them."""
    return b"".join(record.encode() for record in (*message, END_OF_MESSAGE))


def sort_records(message: Iterable[Record], known: Sequence[RecordType]) -> dict[int, Record]:
    """Return the known records by type.

    Raises WireError for others that are critical, with the code that says so, and for a known one that comes twice.
    """
    found: dict[int, Record] = {}
    for record in message:
        if record.type not in known:
            if record.critical:
                raise WireError(f"unknown critical record {record.type}", ErrorCode.UNRECOGNIZED_CRITICAL_RECORD)
        elif record.type in found:
            raise WireError(f"record {record.type} comes twice")
        else:
            found[record.type] = record
    return found


def _next_protocol(found: dict[int, Record]) -> Record:
    record = found.get(RecordType.NEXT_PROTOCOL)
    if record is None:
        raise WireError("no NTS Next Protocol Negotiation record")
    if not record.critical:
        raise WireError("the NTS Next Protocol Negotiation record is not critical")
    return record


def _compliant_128gcm(found: dict[int, Record]) -> bool:
    record = found.get(RecordType.COMPLIANT_128GCM_EXPORT)
    if record is not None and record.body:
        raise WireError("record 1024 has a body")
    return record is not None
