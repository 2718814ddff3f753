"""The embedded time server's decision: what to answer to one datagram (RFC 5905, RFC 8915 section 5.7)."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import floor
from typing import Final

from ntspool.errors import WireError
from ntspool.pool.cookies import NONCE_LENGTH, CookieJar
from ntspool.pool.nts import UNIQUE_ID_MINIMUM, UnverifiedRequest, build_nak, open_request, seal_response
from ntspool.wire.ntp import (
    ExtensionField,
    FieldType,
    Header,
    Mode,
    Packet,
    decode_packet,
    encode_packet,
    ntp_timestamp,
)

MAXIMUM_STRATUM: Final = 15
"""Greatest stratum of a synchronised server; 16 means unsynchronised (RFC 5905 figure 11)."""

# Microseconds: what a user-space clock reading is good for (2**-20 s).
_PRECISION = -20
# About 1 ms, in units of 2**-16 s: nothing tells how good the system clock is, but perfect it is not.
_ROOT_DISPERSION = 66
# A stratum above 1 names its source by an IPv4 address; this is the customary one for a machine's own clock.
_LOCAL_CLOCK = bytes((127, 127, 1, 1))

_NTS_FIELDS = (FieldType.NTS_COOKIE, FieldType.NTS_COOKIE_PLACEHOLDER, FieldType.NTS_AUTHENTICATOR)


class ReplyKind(StrEnum):
    """What kind of answer a request got."""

    PLAIN = "plain"
    NTS = "nts"
    NAK = "nak"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer to send back to where the request came from; `data` is never longer than the request."""

    kind: ReplyKind
    data: bytes


@dataclass(frozen=True, slots=True)
class Responder:
    """An NTP server without its socket: hand every datagram to `respond` and send back what it returns.

    `jar` opens the cookies and mints new ones; `clock` returns the Unix time in seconds; `random(n)` returns n new
    random bytes. Raises ValueError unless `stratum` is 1 to 15.
    """

    jar: CookieJar
    stratum: int
    clock: Callable[[], float]
    random: Callable[[int], bytes]

    def __post_init__(self) -> None:
        if not 1 <= self.stratum <= MAXIMUM_STRATUM:
            raise ValueError(f"a server has a stratum of 1 to {MAXIMUM_STRATUM}, not {self.stratum}")

    def respond(self, data: bytes, received: float) -> Reply | None:
        """Return the answer to a datagram, or None to drop it; never raises, whatever the bytes are.

        `received` is the Unix time in seconds at which the datagram came.
        """
        try:
            packet = decode_packet(data)
            # A MAC cannot be verified here, where no symmetric keys are.
            if packet.header.mode != Mode.CLIENT or packet.mac:
                return None
            if any(packet.bodies(field_type) for field_type in _NTS_FIELDS):
                return self._respond_nts(packet, data, received)
            return self._respond_plain(packet, received)
        except WireError:
            return None

    def _respond_nts(self, packet: Packet, data: bytes, received: float) -> Reply:
        request = open_request(packet, data, self.jar.open)
        if isinstance(request, UnverifiedRequest):
            return Reply(ReplyKind.NAK, build_nak(request, self._header(packet.header, received)))
        cookies = [self.jar.mint(request.association, self.random(NONCE_LENGTH)) for _ in range(request.cookies_wanted)]
        nonce = self.random(request.association.aead.nonce_length)
        header = self._header(packet.header, received)
        return Reply(ReplyKind.NTS, seal_response(request, header, cookies, nonce))

    def _respond_plain(self, packet: Packet, received: float) -> Reply:
        # Without NTS the identifier is echoed all the same (RFC 8915 section 5.3).
        unique_ids = packet.bodies(FieldType.UNIQUE_IDENTIFIER)
        if len(unique_ids) > 1 or any(len(each) < UNIQUE_ID_MINIMUM for each in unique_ids):
            raise WireError("the unique identifier is not what it must be")
        fields = tuple(ExtensionField(FieldType.UNIQUE_IDENTIFIER, each) for each in unique_ids)
        return Reply(ReplyKind.PLAIN, encode_packet(Packet(self._header(packet.header, received), fields)))

    def _header(self, request: Header, received: float) -> Header:
        """Return the header of an answer; the clock is read here, so call it as late as possible."""
        return Header(
            Mode.SERVER,
            version=request.version,
            stratum=self.stratum,
            poll=request.poll,
            precision=_PRECISION,
            root_dispersion=_ROOT_DISPERSION,
            reference_id=b"LOCL" if self.stratum == 1 else _LOCAL_CLOCK,
            reference_timestamp=ntp_timestamp(floor(received)),
            origin_timestamp=request.transmit_timestamp,
            receive_timestamp=ntp_timestamp(received),
            transmit_timestamp=ntp_timestamp(self.clock()),
        )
