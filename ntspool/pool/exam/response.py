"""What an ordinary client is answered: whether the RFC allows it, and whether the clients in use take it."""

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

from ntspool.pool.exam.conversation import Answer, Conversation, Ending, Kind, Reached
from ntspool.pool.exam.model import Finding, Verdict
from ntspool.pool.exam.printable import printable
from ntspool.wire.messages import COOKIES, MAX_RESPONSE
from ntspool.wire.records import Record, RecordType

_LONGEST_NAME = 99
"""Of a server, that NTPsec's client takes."""

_LONGEST_COOKIE = 192
"""That every client takes: NTPsec's not 196, chrony's not 260."""

_CHRONYS_MOST = 16384
_SLOW = 2.0
"""Seconds; NTPsec's client waits 3 for each step, ntpd-rs 5 for all of them."""

_FQDN = re.compile(r"(?=.{1,253}\.?$)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_-]{1,63}\.?")
_ASKED_FOR = frozenset(range(RecordType.KEEP_ALIVE))
"""The record types of RFC 8915; of the others an ordinary client has never heard."""


def judge_answer(seen: Conversation) -> Iterator[Finding]:
    """Yield the verdicts on the answer to a request for NTPv4 with AES-SIV-CMAC-256."""
    outcome = seen.outcome
    if seen.reached < Reached.TLS:
        return
    text = f"an ordinary request: the server {outcome}"
    if outcome.kind is not Kind.COOKIES:
        rfc = "RFC 8915 4.1.5" if outcome.kind is Kind.NO_AEAD else "RFC 8915 4"
        yield Finding("ke.answer", Verdict.FAIL, text, rfc, seen.address)
        return
    yield Finding("ke.answer", Verdict.PASS, f"{text} after {seen.answered or 0:.3f} s", "RFC 8915 4", seen.address)
    answer = seen.answer
    for judge in (_protocol, _aead, _end, _cookies, _cookie_lengths, _server, _port, _warning, _others):
        yield judge(answer, seen)
    yield _length(seen)
    yield _pieces(seen)
    yield _close(seen)
    yield _speed(seen)


def named_server(answer: Answer) -> str | None:
    """Return the NTP server that an answer names, safe to print; None if it is the one that answers."""
    found = answer.all(RecordType.NTPV4_SERVER)
    return printable(found[0].body.decode("ascii", "backslashreplace")) if found else None


def named_port(answer: Answer) -> int | None:
    """Return the port that an answer names; None if it is the usual one."""
    numbers = answer.numbers(RecordType.NTPV4_PORT)
    return numbers[0] if numbers else None


def _find(
    name: str, trouble: tuple[str, str], rfc: str, seen: Conversation, verdict: Verdict = Verdict.FAIL
) -> Finding:
    """Return `verdict` in the first words of `trouble` if there are any, a PASS in the second ones if not."""
    wrong, right = trouble
    section = f"RFC 8915 {rfc}" if rfc else ""
    return Finding(f"ke.{name}", verdict if wrong else Verdict.PASS, wrong or right, section, seen.address)


def _protocol(answer: Answer, seen: Conversation) -> Finding:
    found = answer.all(RecordType.NEXT_PROTOCOL)
    wrong = ""
    if len(found) != 1:
        wrong = f"{len(found)} Next Protocol records in the answer, where exactly one belongs"
    elif not found[0].critical:
        wrong = "the Next Protocol record of the answer is not critical: chrony refuses it"
    elif found[0].body != b"\0\0":
        wrong = f"the answer chooses next protocols that were not offered: {found[0].body.hex()}"
    return _find("next-protocol", (wrong, "the answer chooses NTPv4"), "4.1.2", seen)


def _aead(answer: Answer, seen: Conversation) -> Finding:
    found = answer.all(RecordType.AEAD_ALGORITHM)
    wrong = ""
    if len(found) != 1:
        wrong = f"{len(found)} AEAD records in the answer, where exactly one belongs"
    elif found[0].body != b"\0\x0f":
        wrong = f"the answer chooses an AEAD algorithm that was not offered: {_numbers(found[0])}"
    return _find("aead-record", (wrong, "the answer chooses the AEAD algorithm that was offered"), "4.1.5", seen)


def _numbers(record: Record) -> str:
    body = record.body
    return str(int.from_bytes(body, "big")) if len(body) == 2 else body.hex() or "none"


def _end(answer: Answer, seen: Conversation) -> Finding:
    end = answer.records[-1]
    wrong = ""
    if not end.critical:
        wrong = "the End of Message is not critical: chrony and NTPsec refuse it"
    elif end.body:
        wrong = "the End of Message is not empty"
    elif answer.rest:
        wrong = f"{len(answer.rest)} bytes follow the End of Message: chrony and NTPsec refuse them"
    return _find("end-of-message", (wrong, "the answer ends as it must"), "4.1.1", seen)


def _cookies(answer: Answer, seen: Conversation) -> Finding:
    cookies = answer.cookies
    many, distinct = len(cookies), len(set(cookies))
    wrong, verdict = "", Verdict.NOTE
    if not all(cookies):
        wrong, verdict = "there are empty cookies", Verdict.FAIL
    elif distinct != many:
        wrong, verdict = f"{many} cookies, of which {distinct} differ: they tell who the client is", Verdict.FAIL
    elif many > COOKIES:
        wrong = f"{many} cookies, where eight belong: NTPsec's client before 1.2.5 refuses them"
    elif many < COOKIES:
        wrong = f"{many} cookies, where eight belong: clients have to come back sooner when packets get lost"
    return _find("cookies", (wrong, f"{many} cookies"), "4.1.6", seen, verdict)


def _cookie_lengths(answer: Answer, seen: Conversation) -> Finding:
    lengths = sorted({len(each) for each in answer.cookies})
    wrong = ""
    if len(lengths) > 1:
        wrong = f"cookies of {lengths[0]} to {lengths[-1]} bytes: NTPsec's client refuses what is not of one length"
    elif lengths[0] % 4:
        wrong = f"cookies of {lengths[0]} bytes, which is no multiple of 4: chrony's client refuses them"
    elif lengths[0] > _LONGEST_COOKIE:
        wrong = f"cookies of {lengths[0]} bytes: NTPsec's client takes at most {_LONGEST_COOKIE}, chrony's 256"
    return _find("cookie-lengths", (wrong, f"cookies of {lengths[0]} bytes each"), "", seen, Verdict.NOTE)


def _server(answer: Answer, seen: Conversation) -> Finding:
    name = named_server(answer)
    if name is None:
        return _find("server", ("", "the answer names no NTP server: it is this one"), "4.1.7", seen)
    wrong, verdict = _server_trouble(name, len(answer.all(RecordType.NTPV4_SERVER)), seen.address)
    return _find("server", (wrong, f"the answer names the NTP server {name}"), "4.1.7", seen, verdict)


def _server_trouble(name: str, records: int, asked: str) -> tuple[str, Verdict]:
    if records > 1:
        return f"{records} NTPv4 Server records, where at most one belongs", Verdict.FAIL
    address = _address(name)
    if address is None and not _FQDN.fullmatch(name):
        return f"the NTP server's name is neither an address nor a domain name: {name!r}", Verdict.FAIL
    if isinstance(address, IPv6Address) and address.scope_id:
        return f"the NTP server's address has a zone: {name}", Verdict.FAIL
    if address is not None and address.version != ip_address(asked).version:
        return f"the NTP server's address is of the other family than the session's: {name}", Verdict.NOTE
    if len(name) > _LONGEST_NAME:
        return f"the NTP server's name has {len(name)} bytes: NTPsec's client takes {_LONGEST_NAME}", Verdict.NOTE
    return "", Verdict.PASS


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name)
    except ValueError:
        return None


def _port(answer: Answer, seen: Conversation) -> Finding:
    found = answer.all(RecordType.NTPV4_PORT)
    wrong = ""
    if len(found) > 1:
        wrong = f"{len(found)} NTPv4 Port records, where at most one belongs"
    elif found and (len(found[0].body) != 2 or found[0].body == b"\0\0"):
        wrong = f"the NTPv4 Port record holds no port: {found[0].body.hex() or 'nothing'}"
    right = f"the NTP port is {named_port(answer)}" if found else "the NTP port is the usual one"
    return _find("port", (wrong, right), "4.1.8", seen)


def _warning(answer: Answer, seen: Conversation) -> Finding:
    # No code is assigned, and clients must treat unknown ones as errors.
    wrong = "the answer has a warning, which clients must refuse since no code of one is known"
    warned = bool(answer.all(RecordType.WARNING))
    return _find("warning", (wrong if warned else "", "the answer has no warning"), "4.1.4", seen)


def _others(answer: Answer, seen: Conversation) -> Finding:
    strange = [each for each in answer.records if each.type not in _ASKED_FOR]
    critical = [each for each in strange if each.critical]
    types = ", ".join(str(each.type) for each in critical or strange)
    wrong = f"unknown {'critical ' if critical else ''}records in the answer: {types}" if strange else ""
    right = "the answer has no unknown records"
    return _find("strange-records", (wrong, right), "4", seen, Verdict.FAIL if critical else Verdict.NOTE)


def _length(seen: Conversation) -> Finding:
    length = len(seen.data)
    wrong = ""
    if length > _CHRONYS_MOST:
        wrong = f"an answer of {length} bytes: no client in use takes it (chrony's limit is {_CHRONYS_MOST})"
    elif length > MAX_RESPONSE:
        wrong = f"an answer of {length} bytes: NTPsec's client takes {MAX_RESPONSE}, ntpd-rs 4096"
    verdict = Verdict.FAIL if length > _CHRONYS_MOST else Verdict.NOTE
    return _find("length", (wrong, f"an answer of {length} bytes"), "4", seen, verdict)


def _pieces(seen: Conversation) -> Finding:
    wrong = f"an answer in {seen.pieces} TLS records: NTPsec's client before 1.2.5 reads the first only"
    return _find("pieces", (wrong if seen.pieces > 1 else "", "an answer in one TLS record"), "", seen, Verdict.NOTE)


def _close(seen: Conversation) -> Finding:
    if seen.ending is Ending.CLOSE_NOTIFY:
        late = "" if seen.unprompted else "the server ends TLS only after the client: some clients wait for it"
        return _find("close-notify", (late, "the server ends TLS by itself"), "4", seen, Verdict.NOTE)
    if seen.ending is Ending.OPEN:
        wrong = "the server keeps the connection open after its answer: chrony's clients use it only 16 s later"
        return _find("close-notify", (wrong, ""), "4", seen)
    if seen.ending is Ending.RESET:
        wrong = "the server resets the connection after its answer, which clients then often have not read"
        return _find("close-notify", (wrong, ""), "4", seen)
    wrong = f"the server ends the connection without close_notify: {seen.ending}"
    return Finding("ke.close-notify", Verdict.NOTE, wrong, "RFC 8915 4", seen.address, deviation=True)


def _speed(seen: Conversation) -> Finding:
    taken = (seen.connect or 0) + (seen.handshake or 0) + (seen.answered or 0)
    wrong = f"a session takes {taken:.1f} s: NTPsec's client waits 3 s for a step, ntpd-rs 5 s for all"
    right = f"a session takes {taken * 1000:.0f} ms"
    return _find("speed", (wrong if taken > _SLOW else "", right), "", seen, Verdict.NOTE)
