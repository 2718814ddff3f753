"""An ordinary answer: what of it is against the RFC, and which clients in use would not take it."""

from dataclasses import replace

import pytest

from ntspool.pool.exam.conversation import Ending
from ntspool.pool.exam.model import Verdict
from ntspool.pool.exam.response import judge_answer
from ntspool.wire import records
from ntspool.wire.messages import NO_COMMON_AEAD
from ntspool.wire.records import END_OF_MESSAGE, Record, RecordType
from tests.pool.exam.seen import AEAD, CLOSED, COOKIES, GOOD, PROTOCOL, UNREACHED, answered, ids, said

SERVER = records.ntpv4_server("192.0.2.9", critical=True)
PORT = records.ntpv4_port(4123, critical=True)
GIVEN = [records.new_cookie(each) for each in COOKIES]


def named(name, **changes):
    return answered(Record(RecordType.NTPV4_SERVER, name, critical=True), **changes)


@pytest.mark.parametrize(
    "seen", [answered(), answered(SERVER, PORT), named(b"ntp.example.com"), named(b"::1", address="::2")]
)
def test_a_good_answer_is_right_in_everything(seen):
    found = ids(judge_answer(seen))
    assert set(found.values()) == {"pass"}
    assert len(found) == 14


@pytest.mark.parametrize(
    ("name", "verdict", "seen"),
    [
        ("ke.answer", "fail", CLOSED),
        ("ke.answer", "fail", replace(GOOD, data=NO_COMMON_AEAD.encode())),
        ("ke.next-protocol", "fail", said(AEAD, *GIVEN, END_OF_MESSAGE)),
        ("ke.next-protocol", "fail", answered(PROTOCOL)),
        ("ke.next-protocol", "fail", said(replace(PROTOCOL, critical=False), AEAD, *GIVEN, END_OF_MESSAGE)),
        ("ke.next-protocol", "fail", said(records.next_protocol([7]), AEAD, *GIVEN, END_OF_MESSAGE)),
        ("ke.aead-record", "fail", answered(aead=17)),
        ("ke.aead-record", "fail", answered(AEAD)),
        ("ke.end-of-message", "fail", said(PROTOCOL, AEAD, *GIVEN, replace(END_OF_MESSAGE, critical=False))),
        ("ke.end-of-message", "fail", said(PROTOCOL, AEAD, *GIVEN, replace(END_OF_MESSAGE, body=b"?"))),
        ("ke.end-of-message", "fail", replace(answered(), data=answered().data + b"more")),
        ("ke.cookies", "note", answered(cookies=COOKIES[:7])),
        ("ke.cookies", "note", answered(cookies=(*COOKIES, bytes([9]) * 100))),
        ("ke.cookies", "fail", answered(cookies=COOKIES[:1] * 8)),
        ("ke.cookies", "fail", answered(cookies=(*COOKIES[:7], b""))),
        ("ke.cookie-lengths", "note", answered(cookies=[each[:62] for each in COOKIES])),
        ("ke.cookie-lengths", "note", answered(cookies=[each * 2 for each in COOKIES])),
        ("ke.cookie-lengths", "note", answered(cookies=(*COOKIES[:7], bytes(104)))),
        ("ke.server", "fail", answered(SERVER, SERVER)),
        ("ke.server", "fail", named(b"[2001:db8::1]", address="2001:db8::2")),
        ("ke.server", "fail", named(b"fe80::1%eth0", address="2001:db8::2")),
        ("ke.server", "fail", named(b"ntp server")),
        ("ke.server", "fail", named(b"\xff\xfe")),
        ("ke.server", "fail", named(b"")),
        ("ke.server", "note", named(b"2001:db8::1")),
        ("ke.server", "note", named(b"a" * 50 + b"." + b"b" * 49)),
        ("ke.port", "fail", answered(PORT, PORT)),
        ("ke.port", "fail", answered(records.ntpv4_port(0, critical=True))),
        ("ke.port", "fail", answered(Record(RecordType.NTPV4_PORT, b"1", critical=True))),
        ("ke.warning", "fail", answered(Record(RecordType.WARNING, b"\0\0", critical=False))),
        ("ke.strange-records", "note", answered(Record(1024, b"", critical=False))),
        ("ke.strange-records", "fail", answered(Record(99, b"", critical=True))),
        ("ke.length", "note", answered(Record(99, bytes(2000), critical=False))),
        ("ke.length", "fail", answered(Record(99, bytes(16000), critical=False))),
        ("ke.pieces", "note", answered(pieces=2)),
        ("ke.close-notify", "note", answered(unprompted=False)),
        ("ke.close-notify", "note!", answered(ending=Ending.CLOSED)),
        ("ke.close-notify", "fail", answered(ending=Ending.OPEN)),
        ("ke.close-notify", "fail", answered(ending=Ending.RESET)),
        ("ke.speed", "note", answered(answered=3.0)),
    ],
)
def test_what_is_wrong_is_found(name, verdict, seen):
    found = ids(judge_answer(seen))
    assert found[name] == verdict
    others = {key for key, each in found.items() if each not in {"pass", verdict}}
    assert "fail" not in {found[key] for key in others}


def test_without_a_session_nothing_is_said():
    assert not list(judge_answer(UNREACHED))


def test_a_missing_mandatory_aead_is_told_by_its_section():
    (finding,) = judge_answer(replace(GOOD, data=NO_COMMON_AEAD.encode()))
    assert (finding.verdict, finding.rfc) == (Verdict.FAIL, "RFC 8915 4.1.5")
