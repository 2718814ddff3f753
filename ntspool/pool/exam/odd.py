"""Odd requests: what a server should make of what ordinary clients do not send (RFC 8915 section 4)."""

from collections.abc import Sequence
from dataclasses import dataclass

from ntspool.errors import ErrorCode
from ntspool.pool.exam.conversation import Conversation, Kind, Outcome, Reached
from ntspool.pool.exam.model import Finding, Verdict
from ntspool.wire import records
from ntspool.wire.aead import Aead
from ntspool.wire.records import COMPLIANT_128GCM_EXPORT, END_OF_MESSAGE, PROTOCOL_NTPV4, Record, RecordType

_UNKNOWN = 0x3FFF
"""A record type that nobody has: the last before those of private use (RFC 8915 section 7.6)."""

_UNKNOWN_PROTOCOL = 0x7FFF
"""The last next protocol that IANA could assign (RFC 8915 section 7.7)."""

_UNKNOWN_AEAD = 0x7FFF
"""An AEAD algorithm that nobody has (RFC 5116 section 6)."""

_LEAST_LIMIT = 1024
"""Bytes of a request that every server must take (RFC 8915 section 4)."""

_PROTOCOL = records.next_protocol([PROTOCOL_NTPV4])
_AEAD = records.aead_algorithm([Aead.AES_SIV_CMAC_256])
_UNCRITICAL_END = Record(RecordType.END_OF_MESSAGE, b"", critical=False)

GIVES = Outcome(Kind.COOKIES)
ERROR_0 = Outcome(Kind.ERROR, ErrorCode.UNRECOGNIZED_CRITICAL_RECORD)
ERROR_1 = Outcome(Kind.ERROR, ErrorCode.BAD_REQUEST)


@dataclass(frozen=True, slots=True)
class Case:
    """An odd request: `pieces` to be sent in a TLS record each, and what should come of them.

    `what` names it in a sentence. Of outcomes that are not `wanted`, giving cookies is judged `if_served`; refusing
    cookies that are wanted is judged `if_refused`.
    """

    id: str
    what: str
    pieces: tuple[bytes, ...]
    rfc: str
    wanted: tuple[Outcome, ...]
    if_served: Verdict = Verdict.NOTE
    if_refused: Verdict = Verdict.FAIL


def judge(case: Case, seen: Conversation) -> Finding:
    """Return the verdict on what a server did about an odd request."""
    outcome = seen.outcome
    if seen.reached < Reached.TLS:
        # It let others in just before: we are too many for it, or too fast.
        return Finding(case.id, Verdict.SKIP, f"not tried: {seen.failure}", case.rfc, seen.address)
    text = f"{case.what}: the server {outcome}"
    if outcome in case.wanted:
        return Finding(case.id, Verdict.PASS, text, case.rfc, seen.address)
    expected = case.wanted[0] if case.wanted else "refuses it"
    return _finding(case, _severity(case, outcome), f"{text}; expected: it {expected}", seen.address)


def _severity(case: Case, outcome: Outcome) -> Verdict:
    if outcome.kind is Kind.HANGS:
        # Whoever sends it a few thousand times has used up the server.
        return Verdict.FAIL
    if outcome.kind is Kind.COOKIES:
        return case.if_served
    if GIVES in case.wanted:
        return case.if_refused
    # Refused is refused: nobody who sends this can go on anyway.
    return Verdict.NOTE


def _finding(case: Case, verdict: Verdict, text: str, address: str) -> Finding:
    return Finding(case.id, verdict, text, case.rfc, address, deviation=verdict is Verdict.NOTE)


def message(*parts: Record) -> bytes:
    """Return the bytes of records."""
    return b"".join(each.encode() for each in parts)


def _padded(length: int) -> bytes:
    """Return a good request of so many bytes, by a record that is to be ignored."""
    rest = length - len(message(_PROTOCOL, _AEAD, END_OF_MESSAGE)) - 4
    return message(_PROTOCOL, _AEAD, _unknown(bytes(rest)), END_OF_MESSAGE)


def _unknown(body: bytes = b"?", *, critical: bool = False) -> Record:
    return Record(_UNKNOWN, body, critical)


def _bytewise(data: bytes) -> tuple[bytes, ...]:
    return tuple(data[at : at + 1] for at in range(len(data)))


def _uncritical(record: Record) -> Record:
    return Record(record.type, record.body, critical=False)


ORDINARY = message(_PROTOCOL, _AEAD, END_OF_MESSAGE)
"""What clients send that offer AES-SIV-CMAC-256 only, as chrony 4.3 does."""


def _bad(name: str, what: str, rfc: str, *parts: Record) -> Case:
    return Case(f"ke.{name}", what, (message(*parts),), f"RFC 8915 {rfc}", (ERROR_1,))


def _good(name: str, what: str, rfc: str, *parts: Record) -> Case:
    return Case(f"ke.{name}", what, (message(*parts),), f"RFC 8915 {rfc}", (GIVES,))


def cases(host: str) -> Sequence[Case]:
    """Return the odd requests to put to a service, those first that say most; `host` is a name that it has."""
    return (
        Case(
            "ke.unknown-critical-record",
            "an unknown critical record",
            (message(_PROTOCOL, _AEAD, _unknown(critical=True), END_OF_MESSAGE),),
            "RFC 8915 4.1.3",
            (ERROR_0,),
            if_served=Verdict.FAIL,
        ),
        _good("unknown-record", "an unknown record", "4", _PROTOCOL, _AEAD, _unknown(), END_OF_MESSAGE),
        Case(
            "ke.no-common-protocol",
            "a next protocol that nobody has",
            (message(records.next_protocol([_UNKNOWN_PROTOCOL]), _AEAD, END_OF_MESSAGE),),
            "RFC 8915 4.1.2",
            (Outcome(Kind.NO_PROTOCOL),),
            if_served=Verdict.FAIL,
        ),
        Case(
            "ke.no-common-aead",
            "an AEAD algorithm that nobody has",
            (message(_PROTOCOL, records.aead_algorithm([_UNKNOWN_AEAD]), END_OF_MESSAGE),),
            "RFC 8915 4.1.5",
            (Outcome(Kind.NO_AEAD),),
        ),
        Case(
            "ke.unknown-protocol-offered",
            "an unknown next protocol beside NTPv4",
            (message(records.next_protocol([_UNKNOWN_PROTOCOL, PROTOCOL_NTPV4]), _AEAD, END_OF_MESSAGE),),
            "RFC 8915 4.1.2",
            (GIVES,),
            # There is no other protocol yet.
            if_refused=Verdict.NOTE,
        ),
        _good(
            "unknown-aead-offered",
            "an unknown AEAD algorithm before AES-SIV-CMAC-256",
            "4.1.5",
            _PROTOCOL,
            records.aead_algorithm([_UNKNOWN_AEAD, Aead.AES_SIV_CMAC_256]),
            END_OF_MESSAGE,
        ),
        _good(
            "uncritical-aead",
            "an AEAD record that is not critical",
            "4.1.5",
            _PROTOCOL,
            _uncritical(_AEAD),
            END_OF_MESSAGE,
        ),
        _good("record-1024", "chrony's record 1024", "4", _PROTOCOL, _AEAD, COMPLIANT_128GCM_EXPORT, END_OF_MESSAGE),
        _good(
            "wishes",
            "wishes for a server and a port",
            "4.1.7",
            _PROTOCOL,
            _AEAD,
            records.ntpv4_server(host, critical=False),
            records.ntpv4_port(123, critical=False),
            END_OF_MESSAGE,
        ),
        Case("ke.long-request", "a request of 1024 bytes", (_padded(_LEAST_LIMIT),), "RFC 8915 4", (GIVES,)),
        Case(
            "ke.fragmented",
            "a request of one byte a TLS record",
            _bytewise(ORDINARY),
            "RFC 8915 4",
            (GIVES,),
            # No client of today does it.
            if_refused=Verdict.NOTE,
        ),
        Case(
            "ke.oversized",
            "a request of more than 64 KiB",
            (message(_PROTOCOL, _AEAD, *[_unknown(bytes(16000))] * 5, END_OF_MESSAGE),),
            "RFC 8915 4",
            (ERROR_1, GIVES, Outcome(Kind.CLOSED), Outcome(Kind.ERROR, ErrorCode.INTERNAL_SERVER_ERROR)),
        ),
        _bad("empty", "a message that is empty", "4.1.3", END_OF_MESSAGE),
        _bad("no-aead", "no AEAD record", "4.1.5", _PROTOCOL, END_OF_MESSAGE),
        _bad("protocol-twice", "two Next Protocol records", "4.1.2", _PROTOCOL, _PROTOCOL, _AEAD, END_OF_MESSAGE),
        _bad("aead-twice", "two AEAD records", "4.1.5", _PROTOCOL, _AEAD, _AEAD, END_OF_MESSAGE),
        _bad("error-sent", "an Error record in a request", "4.1.3", _PROTOCOL, _AEAD, records.error(1), END_OF_MESSAGE),
        _bad("uncritical-end", "an End of Message that is not critical", "4.1.1", _PROTOCOL, _AEAD, _UNCRITICAL_END),
    )


SILENCE = Case("ke.silence", "no request at all", (), "RFC 8915 4.1.3", (ERROR_1,))
"""A client that connects and says nothing: judged by `judge_silence`."""


def judge_silence(seen: Conversation) -> Finding:
    """Return the verdict on what a server did when nothing was said to it for a while."""
    outcome, case = seen.outcome, SILENCE
    if seen.reached < Reached.TLS:
        return Finding(case.id, Verdict.SKIP, f"not tried: {seen.failure}", case.rfc, seen.address)
    if outcome == ERROR_1:
        text = f"{case.what}: the server {outcome} after {seen.elapsed + (seen.answered or 0):.1f} s"
        return Finding(case.id, Verdict.PASS, text, case.rfc, seen.address)
    if outcome.kind is Kind.HANGS:
        text = f"{case.what}: the server still waits after {seen.elapsed:.1f} s, as the RFC lets it"
        return Finding(case.id, Verdict.NOTE, text, case.rfc, seen.address)
    if outcome.kind is Kind.CLOSED:
        text = f"{case.what}: the server {outcome} after {seen.elapsed:.1f} s; expected: it {ERROR_1}"
        return _finding(case, Verdict.NOTE, text, seen.address)
    text = f"the server speaks before it is spoken to: it {outcome}"
    return Finding(case.id, Verdict.FAIL, text, case.rfc, seen.address)
