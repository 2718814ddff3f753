"""Services that do one thing wrong, by what that is, and the finding that must tell it."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from OpenSSL import SSL

from ntspool.errors import ErrorCode, WireError
from ntspool.pool.exam.model import Verdict
from ntspool.wire import records
from ntspool.wire.aead import Aead
from ntspool.wire.exchange import exporter_contexts
from ntspool.wire.messages import Request, decode_request
from ntspool.wire.records import END_OF_MESSAGE, Record, RecordType
from tests.net.exam.keserver import KeBehaviour, say_error
from tests.net.exam.ntpserver import TimeBehaviour
from tests.net.exam.service import TIME_HOSTS, Service

FAIL, NOTE = Verdict.FAIL, Verdict.NOTE
WELL = TimeBehaviour()

TIMEOUT = 2.0
"""Seconds that an examination waits for what does not come: enough for what does on a busy machine."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """A service, and the finding with which verdict tells what it does wrong.

    `odd` says that only requests show it which only a tester makes. `also` are other findings that are to be a FAIL.
    """

    service: Service
    finding: str
    verdict: Verdict = FAIL
    odd: bool = False
    also: frozenset[str] = frozenset()
    timeout: float = TIMEOUT
    sessions: int = 6


def _ke(finding: str, verdict: Verdict = FAIL, *also: str, odd: bool = False, **behaviour: object) -> Deviation:
    return Deviation(Service(KeBehaviour(**behaviour)), finding, verdict, odd, frozenset(also))


def _times(finding: str, verdict: Verdict = FAIL, *also: str, odd: bool = False, **behaviour: object) -> Deviation:
    return Deviation(Service(times=[TimeBehaviour(**behaviour)] * 3), finding, verdict, odd, frozenset(also))


def _without(message: list[Record], *kinds: RecordType) -> list[Record]:
    return [each for each in message if each.type not in kinds]


def _changed(kind: RecordType, change: Callable[[Record], Record]) -> Callable[[list[Record]], list[Record]]:
    return lambda message: [change(each) if each.type == kind else each for each in message]


def _before_the_end(*more: Record) -> Callable[[list[Record]], list[Record]]:
    return lambda message: [*message[:-1], *more, message[-1]]


def _uncritical(record: Record) -> Record:
    return replace(record, critical=False)


def _named(name: str) -> Callable[[Record], Record]:
    return lambda _: records.ntpv4_server(name, critical=True)


def _padded(length: int) -> Callable[[list[bytes]], list[bytes]]:
    return lambda cookies: [cookie.ljust(length, b"\0") for cookie in cookies]


def _in_two(say: Callable[[bytes], None], message: bytes) -> None:
    say(message[:400])
    say(message[400:])


def _every_third_fails() -> Callable[[list[Record]], list[Record]]:
    numbers = itertools.count(1)
    return lambda message: message if next(numbers) % 3 else [records.error(2), END_OF_MESSAGE]


def _every_third_lacks(kind: RecordType) -> Callable[[list[Record]], list[Record]]:
    numbers = itertools.count(1)
    return lambda message: message if next(numbers) % 3 else _without(message, kind)


def _ignoring_critical(message: tuple[Record, ...]) -> Request:
    return decode_request([each for each in message if each.type in frozenset(RecordType)])


def _silent(_: WireError) -> None:
    return None


def _error_1(error: WireError) -> bytes | None:
    return say_error(WireError(str(error), ErrorCode.BAD_REQUEST))


def _drops_unknown_critical(error: WireError) -> bytes | None:
    return None if error.code is ErrorCode.UNRECOGNIZED_CRITICAL_RECORD else say_error(error)


def _always_15(_: Request) -> Aead:
    return Aead.AES_SIV_CMAC_256


def _only_30(request: Request) -> Aead | None:
    return Aead.AES_128_GCM_SIV if Aead.AES_128_GCM_SIV in request.usable_aeads else None


def _anything_known(request: Request) -> Aead | None:
    """Choose without a look at record 1024."""
    return next((Aead(each) for each in request.aeads if each in frozenset(Aead)), None)


def _old_contexts(aead: Aead, _: bool) -> tuple[bytes, bytes]:
    return exporter_contexts(aead, compliant_128gcm=False)


def _wrong_contexts(aead: Aead, told: bool) -> tuple[bytes, bytes]:
    c2s, s2c = exporter_contexts(aead, compliant_128gcm=told)
    return s2c, c2s


def _error(code: int) -> bytes:
    return b"".join(each.encode() for each in (records.error(code), END_OF_MESSAGE))


def _stripped(datagram: bytes) -> list[bytes]:
    """Send the header only, with nothing that authenticates it."""
    return [datagram[:48]]


def _damaged(datagram: bytes) -> list[bytes]:
    return [datagram[:-1] + bytes([datagram[-1] ^ 1])]


def _spoilt(cookies: Sequence[bytes]) -> Sequence[bytes]:
    return [each[:4] + each[:3:-1] for each in cookies]


def _kiss(header: object) -> object:
    return replace(header, leap=3, stratum=0, reference_id=b"RATE")


EVERY_AEAD = ("ke.aead-17", "ke.aead-30")
USELESS = ("ntp.answers", *EVERY_AEAD)
_OTHER_TIME = 3.0
_KEEP_ALIVE = Record(RecordType.KEEP_ALIVE, b"", critical=False)

KEY_EXCHANGE: Mapping[str, Deviation] = {
    "TLS 1.2 is accepted": _ke("tls.version", tls_minimum=SSL.TLS1_2_VERSION),
    "no ALPN is selected": _ke("tls.alpn", alpn=None, demands_alpn=False),
    "clients without ALPN are served": _ke("tls.no-alpn", NOTE, odd=True, demands_alpn=False),
    "clients of another ALPN are served": _ke(
        "tls.wrong-alpn",
        NOTE,
        odd=True,
        demands_alpn=False,
        alpn=lambda offered: b"ntske/1" if b"ntske/1" in offered else SSL.NO_OVERLAPPING_PROTOCOLS,
    ),
    "zero cookies": _ke("ke.answer", message=lambda message: _without(message, RecordType.NEW_COOKIE)),
    "one cookie": _ke("ke.cookies", NOTE, cookies=lambda cookies: cookies[:1]),
    "nine cookies": _ke("ke.cookies", NOTE, minted=9),
    "eight times one cookie": _ke("ke.cookies", cookies=lambda cookies: cookies[:1] * 8),
    "an empty cookie before good ones": _ke(
        "ke.cookies", FAIL, "ntp.answers", *EVERY_AEAD, cookies=lambda cookies: [b"", *cookies[1:]]
    ),
    "cookies that fit into no packet": _ke(
        "ntp.answers", FAIL, "ke.length", *EVERY_AEAD, minted=1, cookies=_padded(65535)
    ),
    "every third session lacks the AEAD record": _ke(
        "servers.sessions", message=_every_third_lacks(RecordType.AEAD_ALGORITHM)
    ),
    "cookies of 106 bytes": _ke("ke.cookie-lengths", NOTE, *USELESS, cookies=_padded(106)),
    "cookies of 200 bytes": _ke("ke.cookie-lengths", NOTE, *USELESS, cookies=_padded(200)),
    "cookies of unequal lengths": _ke(
        "ke.cookie-lengths", NOTE, *USELESS, cookies=lambda cookies: [cookies[0] + bytes(4), *cookies[1:]]
    ),
    "more than 2048 bytes": _ke(
        "ke.length", NOTE, message=_before_the_end(Record(0x3F00, bytes(1600), critical=False))
    ),
    "a Warning": _ke("ke.warning", message=_before_the_end(Record(RecordType.WARNING, bytes(2), critical=True))),
    "Keep Alive": _ke("ke.strange-records", NOTE, message=_before_the_end(_KEEP_ALIVE)),
    "an unknown critical record in the answer": _ke(
        "ke.strange-records", message=_before_the_end(Record(0x3F00, b"", critical=True))
    ),
    "Next Protocol is not critical": _ke("ke.next-protocol", message=_changed(RecordType.NEXT_PROTOCOL, _uncritical)),
    "End of Message is not critical": _ke(
        "ke.end-of-message", message=_changed(RecordType.END_OF_MESSAGE, _uncritical)
    ),
    "data after End of Message": _ke("ke.end-of-message", message=lambda message: [*message, _KEEP_ALIVE]),
    "no Next Protocol": _ke("ke.next-protocol", message=lambda message: _without(message, RecordType.NEXT_PROTOCOL)),
    "no AEAD record": _ke("ke.aead-record", message=lambda message: _without(message, RecordType.AEAD_ALGORITHM)),
    "an address in brackets": _ke(
        "ke.server", FAIL, "servers.resolve", message=_changed(RecordType.NTPV4_SERVER, _named(f"[{TIME_HOSTS[0]}]"))
    ),
    "an answer in two TLS records": _ke("ke.pieces", NOTE, send=_in_two),
    "no close_notify": _ke("ke.close-notify", NOTE, close_notify=False),
    "slow": replace(_ke("ke.speed", NOTE, pause=2.2), timeout=8.0, sessions=1),
    "no answer": _ke("ke.answer", pause=4.0),
    "clients are turned away before TLS": _ke("tls.handshake", turns_away=True),
    "every third session fails": _ke("servers.sessions", message=_every_third_fails()),
    "a name that nobody knows": _ke(
        "servers.resolve", message=_changed(RecordType.NTPV4_SERVER, _named("nowhere.invalid"))
    ),
    "an address of the other family": _ke("ke.server", NOTE, message=_changed(RecordType.NTPV4_SERVER, _named("::1"))),
    "two servers": _ke("ke.server", message=_before_the_end(records.ntpv4_server("192.0.2.1", critical=True))),
    "port 0": _ke(
        "ke.port",
        FAIL,
        "ntp.answers",
        message=_changed(RecordType.NTPV4_PORT, lambda _: records.ntpv4_port(0, critical=True)),
    ),
    "more than 16384 bytes": _ke("ke.length", message=_before_the_end(Record(0x3F00, bytes(17000), critical=False))),
    "AES-SIV-CMAC-256 is missing": _ke("ke.answer", choose=_only_30),
    "an AEAD that nobody offered": _ke("ke.no-common-aead", NOTE, odd=True, choose=_always_15),
    "unknown critical records are ignored": _ke("ke.unknown-critical-record", odd=True, read=_ignoring_critical),
    "unknown critical records end the connection": _ke(
        "ke.unknown-critical-record", NOTE, odd=True, bad_request=_drops_unknown_critical
    ),
    "unknown critical records are bad requests": _ke(
        "ke.unknown-critical-record", NOTE, odd=True, bad_request=_error_1
    ),
    "bad requests end the connection": _ke("ke.empty", NOTE, odd=True, bad_request=_silent),
    "no common protocol is an error": _ke("ke.no-common-protocol", NOTE, odd=True, no_protocol=_error(1)),
    "no common AEAD is an error": _ke("ke.no-common-aead", NOTE, odd=True, no_aead=_error(1)),
    "only the first TLS record is read": _ke("ke.fragmented", NOTE, odd=True, one_record_only=True),
    "hangs on what is too long": _ke("ke.oversized", odd=True, hangs=lambda error: "longer than" in str(error)),
    "no request above 512 bytes": _ke("ke.long-request", FAIL, odd=True, limit=512),
}
"""What key exchange servers do wrong."""

TIME: Mapping[str, Deviation] = {
    "record 1024 is echoed and not heeded": _ke("ke.aead-30", contexts=_old_contexts),
    "AES-128-GCM-SIV under compliant keys, and record 1024 is not echoed": _ke(
        "ke.aead-30", NOTE, echo=False, contexts=lambda aead, _: exporter_contexts(aead, compliant_128gcm=True)
    ),
    "AES-128-GCM-SIV under compliant keys without record 1024": _ke(
        "ke.aead-30-unannounced",
        NOTE,
        choose=_anything_known,
        contexts=lambda aead, _: exporter_contexts(aead, compliant_128gcm=True),
    ),
    "keys the wrong way round": _ke("ntp.answers", FAIL, *EVERY_AEAD, contexts=_wrong_contexts),
    "every cookie is answered with an NTS NAK": _times("ntp.answers", FAIL, *EVERY_AEAD, knows=lambda _: False),
    "silent": _times("ntp.answers", FAIL, *EVERY_AEAD, out=lambda _: []),
    "nothing authenticates replies": _times("ntp.answers", FAIL, *EVERY_AEAD, out=_stripped),
    "bad authenticators": _times("ntp.answers", FAIL, *EVERY_AEAD, out=_damaged),
    "unique identifiers are not echoed": _times("ntp.answers", FAIL, *EVERY_AEAD, unique_id=lambda each: each[::-1]),
    "kisses of death": _times("ntp.answers", Verdict.SKIP, header=_kiss),
    "unsynchronised by leap": _times("ntp.time", header=lambda header: replace(header, leap=3)),
    "unsynchronised by stratum": _times("ntp.time", header=lambda header: replace(header, stratum=16)),
    "root distance": _times("ntp.time", header=lambda header: replace(header, root_dispersion=10 * 65536)),
    "no new cookie": _times("ntp.new-cookie", cookies=lambda cookies: []),
    "more cookies than asked for, in a longer reply": _times("ntp.reply-size", FAIL, "ntp.new-cookie", amplifies=True),
    "new cookies that nobody opens": _times(
        "ntp.returned-cookie", cookies=lambda cookies: [c[:4] + c[:3:-1] for c in cookies]
    ),
    "time without NTS for what does not verify": _times(
        "ntp.damaged-cookie", FAIL, "ntp.forged-request", odd=True, plain=True
    ),
    "requests are not verified": _times("ntp.forged-request", odd=True, trusting=True),
    "one falseticker of three": Deviation(
        Service(times=[WELL, TimeBehaviour(shift=_OTHER_TIME), WELL]), "ntp.agreement"
    ),
    "one dead server among others": Deviation(Service(dead=[(TIME_HOSTS[3], 9)]), "ntp.answers"),
    "all of them off": _times("ntp.own-clock", NOTE, shift=_OTHER_TIME),
}
"""What time servers do wrong, and key exchange servers whose cookies then are no good."""

DEVIATIONS = KEY_EXCHANGE | TIME
