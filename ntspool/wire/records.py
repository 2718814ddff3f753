"""NTS-KE records (RFC 8915 section 4) and the record numbers of the KE pool protocol."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain

from ntspool.errors import WireError

PROTOCOL_NTPV4 = 0
"""The only NTS next protocol that exists (RFC 8915 section 7.7)."""

MAX_MESSAGE = 16384
"""Longest request we read, as chrony's; no client's is above 22 bytes, so this is a security limit only."""

MAX_BODY = 0xFFFF
CRITICAL_BIT = 0x8000


class RecordType(IntEnum):
    """Record types: RFC 8915 section 7.6, draft-ietf-ntp-nts-keyexchange-pool, and chrony's 1024."""

    END_OF_MESSAGE = 0
    NEXT_PROTOCOL = 1
    ERROR = 2
    WARNING = 3
    AEAD_ALGORITHM = 4
    NEW_COOKIE = 5
    NTPV4_SERVER = 6
    NTPV4_PORT = 7
    KEEP_ALIVE = 8
    SUPPORTED_NEXT_PROTOCOL_LIST = 9
    SUPPORTED_ALGORITHM_LIST = 10
    LIST_SERVER_NAMES = 11
    FIXED_KEY_REQUEST = 12
    NTP_SERVER_DENY = 13
    AUTHENTICATION_TOKEN = 14
    COMPLIANT_128GCM_EXPORT = 1024


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it stands on the wire; `type` may be a number that RecordType does not know."""

    type: int
    body: bytes
    critical: bool

    def encode(self) -> bytes:
        """Return the record's bytes; raises ValueError when the body is longer than 65535."""
        if len(self.body) > MAX_BODY:
            raise ValueError(f"a record body has at most {MAX_BODY} bytes, not {len(self.body)}")
        head = self.type | CRITICAL_BIT if self.critical else self.type
        return head.to_bytes(2, "big") + len(self.body).to_bytes(2, "big") + self.body

    def numbers(self) -> tuple[int, ...]:
        """Return the body as a list of 16-bit integers; raises WireError when it is empty or of odd length."""
        if not self.body or len(self.body) % 2:
            raise WireError(f"record {self.type} has a body of {len(self.body)} bytes, not a list of numbers")
        return tuple(int.from_bytes(self.body[at : at + 2], "big") for at in range(0, len(self.body), 2))

    def number(self) -> int:
        """Return the body as exactly one 16-bit integer; raises WireError when it is anything else."""
        if len(self.body) != 2:
            raise WireError(f"record {self.type} has a body of {len(self.body)} bytes instead of 2")
        return int.from_bytes(self.body, "big")

    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Return the body as a list of pairs of 16-bit integers; raises WireError when it is anything else."""
        numbers = self.numbers()
        if len(numbers) % 2:
            raise WireError(f"record {self.type} has a body of {len(self.body)} bytes, not a list of pairs")
        return tuple(zip(numbers[::2], numbers[1::2], strict=True))

    def text(self) -> str:
        """Return the body as printable ASCII without spaces; raises WireError when it is empty or anything else."""
        if not self.body or not all(0x21 <= byte <= 0x7E for byte in self.body):
            raise WireError(f"record {self.type} holds no printable ASCII name")
        return self.body.decode("ascii")


END_OF_MESSAGE = Record(RecordType.END_OF_MESSAGE, b"", critical=True)


def next_protocol(protocols: Iterable[int]) -> Record:
    """Return an NTS Next Protocol Negotiation record (RFC 8915 section 4.1.2)."""
    return Record(RecordType.NEXT_PROTOCOL, _pack(protocols), critical=True)


def aead_algorithm(aeads: Iterable[int]) -> Record:
    """Return an AEAD Algorithm Negotiation record (RFC 8915 section 4.1.5)."""
    return Record(RecordType.AEAD_ALGORITHM, _pack(aeads), critical=True)


def error(code: int) -> Record:
    """Return an Error record (RFC 8915 section 4.1.3)."""
    return Record(RecordType.ERROR, _pack([code]), critical=True)


def new_cookie(cookie: bytes) -> Record:
    """Return a New Cookie for NTPv4 record (RFC 8915 section 4.1.6)."""
    return Record(RecordType.NEW_COOKIE, cookie, critical=False)


def ntpv4_server(name: str, *, critical: bool) -> Record:
    """Return an NTPv4 Server Negotiation record; `name` is an address without brackets or a DNS name.

    Servers may make it critical, clients should not: chrony's server refuses it then (RFC 8915 section 4.1.7).
    """
    return Record(RecordType.NTPV4_SERVER, name.encode("ascii"), critical)


def ntpv4_port(port: int, *, critical: bool) -> Record:
    """Return an NTPv4 Port Negotiation record; `critical` as for `ntpv4_server` (RFC 8915 section 4.1.8)."""
    return Record(RecordType.NTPV4_PORT, _pack([port]), critical)


def ntp_server_deny(name: str) -> Record:
    """Return an NTP Server Deny record of the pool protocol; `name` is exactly that of an earlier Server record."""
    return Record(RecordType.NTP_SERVER_DENY, name.encode("ascii"), critical=False)


def supported_next_protocols(protocols: Iterable[int] = ()) -> Record:
    """Return a Supported Next Protocol List record of the pool protocol; empty in a query."""
    return Record(RecordType.SUPPORTED_NEXT_PROTOCOL_LIST, _pack(protocols), critical=True)


def supported_algorithms(aeads: Iterable[tuple[int, int]] = ()) -> Record:
    """Return a Supported Algorithm List record: AEADs and the lengths of their keys in bytes; empty in a query."""
    return Record(RecordType.SUPPORTED_ALGORITHM_LIST, _pack(chain.from_iterable(aeads)), critical=True)


def fixed_key_request(c2s: bytes, s2c: bytes) -> Record:
    """Return a Fixed Key Request record of the pool protocol: the keys that the cookies shall hold."""
    return Record(RecordType.FIXED_KEY_REQUEST, c2s + s2c, critical=True)


def authentication_token(token: str) -> Record:
    """Return an Authentication Token record of the pool protocol: who asks for what follows."""
    return Record(RecordType.AUTHENTICATION_TOKEN, token.encode("ascii"), critical=False)


KEEP_ALIVE = Record(RecordType.KEEP_ALIVE, b"", critical=False)
"""The pool protocol's wish to use the connection for another message, and the consent to it."""

COMPLIANT_128GCM_EXPORT = Record(RecordType.COMPLIANT_128GCM_EXPORT, b"", critical=False)
"""chrony's sign that AEAD 30 is exported with its own number in the context, as RFC 8915 says."""


def _pack(numbers: Iterable[int]) -> bytes:
    return b"".join(number.to_bytes(2, "big") for number in numbers)
