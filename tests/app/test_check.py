"""What `ntspool check` prints, to the letter, and how it ends."""

import json
import os
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ntspool.app.checkforms import as_junit
from ntspool.app.checknagios import Status, Thresholds, judge
from ntspool.app.checkreport import headings, report
from ntspool.app.cli_check import _embolden
from ntspool.app.colours import paint
from ntspool.errors import CertificateError
from ntspool.pool.exam.model import Finding, Verdict
from tests.app.examinations import HOST, ILL, NOBODY, WELL, bad, good, server
from tests.app.scripted import command

GOLDEN = Path(__file__).with_name("golden")


@pytest.fixture
def found(monkeypatch):
    """Put an examination in the place of one that asks somebody; the plan that it was asked for is in `plans`."""

    class Found:
        examination = WELL
        plans = []  # noqa: RUF012

    async def examine(plan, progress):
        Found.plans.append(plan)
        progress(1, 2, "looking")
        if isinstance(Found.examination, Exception):
            raise Found.examination
        return replace(Found.examination, plan=plan)

    Found.plans.clear()
    monkeypatch.setattr("ntspool.net.exam.examine.examine", examine)
    return Found


CASES = {
    "check": (WELL, (), 0),
    "check-ill": (ILL, (), 1),
    "check-ill-quiet": (ILL, ("-q",), 1),
    "check-nobody": (NOBODY, (), 3),
    "check-junit": (ILL, ("--junit", "-"), 1),
    "check-nagios": (WELL, ("--nagios",), 0),
    "check-ill-nagios": (ILL, ("--nagios",), 2),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_printed(found, name):
    found.examination, options, code = CASES[name]
    ended = command("check", HOST, *options)
    golden = GOLDEN / f"{name}.{'xml' if 'junit' in name else 'txt'}"
    assert (ended.code, ended.out) == (code, golden.read_text())


def test_json_is_all_that_was_found(found):
    found.examination = ILL
    ended = command("check", HOST, "--json", "--ca", "/etc/ssl/example.pem")
    told = json.loads(ended.out)
    assert ended.code == 1
    assert told["result"] == {"pass": 9, "fail": 4, "note": 2, "skip": 1}
    assert told["plan"]["host"] == HOST
    assert told["plan"]["ca"] == "/etc/ssl/example.pem"
    assert told["findings"][4] == {
        "id": "tls.certificate",
        "section": "tls",
        "verdict": "fail",
        "text": "the certificate is not for ntp-pool.example.com",
        "rfc": "RFC 8915 4",
        "address": "2001:db8::10",
        "deviation": False,
    }
    assert told["servers"][2]["failures"] == [["no answer", 6], ["NTS NAK", 2]]
    assert told["servers"][2]["offset"] is None
    assert told["agreement"]["falsetickers"] == ["192.0.2.2 port 123"]


def test_it_says_first_what_it_will_do(found):
    ended = command("check", HOST)
    assert ended.err == f"{found.plans[0].describe()}\n"
    assert HOST in ended.err


@pytest.mark.parametrize("option", ["-q", "--nagios"])
def test_it_can_be_silent(found, option):
    assert command("check", HOST, option).err == ""


def test_what_is_asked_for_is_planned(found):
    words = "--sessions 3 --slots 2 -6 --quick --insecure --timeout 2 --rate 5 --limit 60"
    command("check", "Pool.Example.COM.:4461", *words.split(), "--dns", "[2001:db8::53]:5353", "--dns", "192.0.2.53")
    (plan,) = found.plans
    assert (plan.host, plan.port, plan.sessions, plan.slots) == ("pool.example.com", 4461, 3, 2)
    assert (plan.families, plan.odd, plan.insecure) == ((6,), False, True)
    assert (plan.timeout, plan.rate, plan.limit) == (2, 5, 60)
    assert plan.resolvers == (("2001:db8::53", 5353), ("192.0.2.53", 53))


@pytest.mark.parametrize(
    ("options", "families", "odd", "limit"),
    [
        ("", (4, 6), True, 300),
        ("-4", (4,), True, 300),
        ("-4 -6", (4, 6), True, 300),
        ("--nagios", (4, 6), False, 50),
        ("--nagios --thorough --limit 300", (4, 6), True, 300),
    ],
)
def test_what_holds_unless_asked_for(found, options, families, odd, limit):
    command("check", HOST, *options.split())
    (plan,) = found.plans
    assert (plan.families, plan.odd, plan.limit) == (families, odd, limit)


@pytest.mark.parametrize(
    "words",
    [
        "--json --nagios",
        "--json --junit -",
        "--nagios --junit -",
        "--slots 11",
        "--sessions 0",
        "--rate 0",
        "--dns nowhere:0",
        "--days-left 5",
    ],
)
def test_wrong_usage(found, words):
    ended = command("check", HOST, *words.split())
    if "--nagios" in words:
        assert (ended.code, ended.err) == (3, "")
        assert ended.out.startswith("NTS UNKNOWN - expected one of")
    else:
        assert (ended.code, ended.out) == (2, "")
    assert found.plans == []


def test_junit_beside_the_report(found, tmp_path):
    ended = command("check", HOST, "--junit", tmp_path / "check.xml")
    assert ended.out == (GOLDEN / "check.txt").read_text()
    assert (tmp_path / "check.xml").read_text() == as_junit(replace(WELL, plan=found.plans[0]))


def test_junit_that_cannot_be_written(found, tmp_path):
    ended = command("check", HOST, "--junit", tmp_path / "nowhere" / "check.xml")
    assert ended.code == 1
    assert ended.err.endswith("nowhere/check.xml cannot be written: No such file or directory\n")


def test_authorities_that_cannot_be_read(found):
    found.examination = CertificateError("x.pem holds no certificate in PEM, or cannot be read")
    ended = command("check", HOST, "--nagios")
    assert (ended.code, ended.out) == (3, "NTS UNKNOWN - x.pem holds no certificate in PEM, or cannot be read\n")
    assert command("check", HOST).code == 1


SKIPPED = Finding("ntp.skipped", Verdict.SKIP, "not tried to the end: 50 s are over")
SUITE = {"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname"}
CASE_CHILDREN = {"skipped": {"message"}, "failure": {"type", "message"}, "system-out": set()}


@pytest.mark.parametrize("examination", [WELL, ILL, NOBODY])
def test_junit_is_what_its_readers_know(examination):
    """By Jenkins' schema: which elements there are, with which attributes, and numbers that are right."""
    root = ElementTree.fromstring(as_junit(examination))
    assert (root.tag, set(root.attrib)) == ("testsuites", SUITE - {"timestamp", "hostname"})
    assert int(root.attrib["tests"]) == len(examination.findings) == len(root.findall("testsuite/testcase"))
    assert int(root.attrib["failures"]) == len(examination.failed) == len(root.findall(".//failure"))
    names = set()
    for suite in root:
        assert (suite.tag, set(suite.attrib)) == ("testsuite", SUITE)
        assert int(suite.attrib["tests"]) == len(suite)
        assert int(suite.attrib["failures"]) == len(suite.findall("testcase/failure"))
        assert int(suite.attrib["skipped"]) == len(suite.findall("testcase/skipped"))
        for case in suite:
            assert (case.tag, set(case.attrib)) == ("testcase", {"name", "classname", "time"})
            (child,) = case
            assert set(child.attrib) == CASE_CHILDREN[child.tag]
            names.add(case.attrib["name"])
    assert len(names) == len(examination.findings)


def test_what_a_server_sends_breaks_no_xml_and_no_line():
    text = "it says <&\x00\x1b[31m|\ud800\n"
    ugly = replace(WELL, findings=(Finding("ke.warning", Verdict.FAIL, text),))
    (failure,) = ElementTree.fromstring(as_junit(ugly).encode()).findall(".//failure")
    assert failure.attrib["message"].startswith("it says <&??[31m|?")
    outcome = judge(ugly, Thresholds())
    assert outcome.line.partition(" | ")[0] == f"NTS CRITICAL - {HOST}: it says <&??[31m???"


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, Status.OK, "3 servers; offset -2100us; root distance 12ms; certificate good for 61 days; key"),
        (
            {"certificates": (replace(WELL.certificates[0], days_left=13.9),)},
            Status.WARNING,
            "certificate good for 14 ",
        ),
        (
            {"certificates": (replace(WELL.certificates[0], days_left=2.9),)},
            Status.CRITICAL,
            "certificate good for 2.9 d",
        ),
        ({"servers": ()}, Status.CRITICAL, "0 servers"),
        ({"servers": (server("192.0.2.1", offset=-0.11),)}, Status.WARNING, "offset -110ms"),
        ({"servers": (server("192.0.2.1", offset=-1.1),)}, Status.CRITICAL, "offset -1100ms"),
        ({"servers": (server("192.0.2.1", root_distance=1.2),)}, Status.WARNING, "root distance 1200ms"),
        ({"aeads": (replace(WELL.aeads[0], elapsed=2.5),)}, Status.WARNING, "key exchange 2500ms"),
        ({"findings": (bad("ke.x", "all wrong", "", "192.0.2.1"),)}, Status.CRITICAL, "all wrong (192.0.2.1)"),
        (
            {"findings": (Finding("ke.cookie-lengths", Verdict.NOTE, "cookies of 106 bytes"),)},
            Status.WARNING,
            "cookies of 106 bytes |",
        ),
        ({"findings": (SKIPPED,), "servers": ()}, Status.UNKNOWN, "not tried to the end: 50 s are over |"),
        ({"findings": (SKIPPED, bad("ke.x", "all wrong"))}, Status.CRITICAL, "all wrong |"),
        ({"aeads": (), "certificates": ()}, Status.OK, "3 servers; offset -2100us; root distance 12ms"),
    ],
)
def test_what_a_monitor_is_told(changes, status, words):
    outcome = judge(replace(WELL, **changes), Thresholds())
    assert outcome.status is status
    assert outcome.line.startswith(f"NTS {status.name} - {HOST}: {words}")


def test_a_monitor_reads_no_exponents():
    line = judge(replace(WELL, servers=(server("192.0.2.1", offset=-3.09e-06),)), Thresholds()).line
    assert "offset=-0.00000309s;" in line


def test_a_machine_without_sockets_is_unknown_to_a_monitor(found):
    found.examination = OSError(24, "Too many open files")
    assert command("check", HOST, "--nagios").code == 3


def test_a_monitor_has_thresholds_of_its_own(found):
    ended = command("check", HOST, "--nagios", "--servers", 5, 4, "--days-left", 90, 60, "--offset", "0.001", "0.5")
    assert ended.code == 2
    assert ended.out.startswith(
        f"NTS CRITICAL - {HOST}: 3 servers; offset -2100us; certificate good for 61 days | servers=3;5:;4: "
        "offset=-0.0021s;-0.001:0.001;-0.5:0.5 "
    )


def test_colours_repeat_the_words():
    text = report(ILL)
    painted = _embolden(paint(text), headings())
    assert "\n\x1b[1mTLS\x1b[0m\n" in painted
    assert "  \x1b[31mFAIL\x1b[0m  tls.certificate" in painted
    assert "  \x1b[32mPASS\x1b[0m  tls.version" in painted
    assert "  \x1b[33mNOTE\x1b[0m  ke.empty" in painted


def test_findings_fit_the_terminal():
    lines = report(ILL, width=60).splitlines()
    at = lines.index("  FAIL  ke.unknown-critical-record (192.0.2.10): an unknown")
    assert lines[at + 1 : at + 3] == [
        "        critical record: the server closes the connection",
        "        without an answer; expected: it answers with NTS-KE",
    ]
    assert sorted("".join(report(ILL, width=60).split())) == sorted("".join(report(ILL).split()))


def test_what_many_servers_have_in_common_is_one_line():
    addresses = [f"192.0.2.{n} port 123" for n in range(1, 5)]
    same = [good("ntp.answers", "all well", "RFC 8915 5.7", each) for each in addresses]
    worse = [bad("ntp.time", "all wrong", "", each) for each in addresses]
    text = report(replace(WELL, findings=(*same, *worse)))
    assert "  PASS  ntp.answers (192.0.2.1 port 123 and 3 more): all well [RFC 8915 5.7]\n" in text
    assert f"  FAIL  ntp.time ({', '.join(addresses)}): all wrong\n" in text


def test_no_color_is_no_color(found, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "")
    command("check", HOST, "--no-color")
    assert os.environ["NO_COLOR"] == "1"
