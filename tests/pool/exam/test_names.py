"""What the DNS says of a service."""

from ntspool.pool.exam.model import Examination, Finding, Lookup, Section, Verdict
from ntspool.pool.exam.names import judge_names
from ntspool.pool.exam.plan import Plan
from tests.pool.exam.seen import ids

V4 = Lookup("pool.test", "A", ("192.0.2.1",), 300.0, authenticated=True)
V6 = Lookup("pool.test", "AAAA", ("2001:db8::1",), 300.0, authenticated=True)
ADDRESSES = ["192.0.2.1", "2001:db8::1"]


def test_a_name_that_is_well():
    assert ids(judge_names([V4, V6], ADDRESSES, by_system=False)) == dict.fromkeys(
        ("dns.addresses", "dns.dnssec", "dns.ttl"), "pass"
    )


def test_what_is_worth_a_note():
    day = Lookup("pool.test", "A", ("192.0.2.1",), 172800.0)
    srv = Lookup("_ntske._tcp.pool.test", "SRV", ("0 0 4460 a.test.",), 60.0)
    found = ids(judge_names([day, srv], ["192.0.2.1"], by_system=False))
    assert found == dict.fromkeys(("dns.addresses", "dns.dnssec", "dns.ttl", "dns.srv"), "note")
    assert ids(judge_names([], ["127.0.0.1"], by_system=True)) == {"dns.addresses": "note"}


def test_a_name_without_an_address():
    (finding,) = judge_names([Lookup("pool.test", "A", failure="no answer")], [], by_system=False)
    assert (finding.verdict.value, finding.text) == ("fail", "no answer")
    assert ids(judge_names([Lookup("pool.test", "A")], [], by_system=False)) == {"dns.addresses": "fail"}


def test_an_examination_is_read_by_section_and_verdict():
    findings = (Finding("dns.ttl", Verdict.PASS, "a"), Finding("ke.cookies", Verdict.FAIL, "b"))
    found = Examination(Plan("pool.test"), 0.0, 0.0, 0, 0, findings)
    assert found.failed == found.of(Section.KE) == findings[1:]
    assert (found.count(Verdict.PASS), found.count(Verdict.SKIP)) == (1, 0)


def test_a_plan_says_what_it_will_do():
    assert Plan("pool.test").most_sessions == 2 * 2 + 3 + 8 + 4 + 21
    assert Plan("pool.test", odd=False, slots=0, sessions=0, families=(4,)).most_sessions == 2 + 3
    words = Plan("pool.test").describe()
    assert "40 NTS-KE connections to pool.test port 4460" in words
    assert "12 NTP requests" in words
