"""Services that do one thing wrong, and are told so; the same service without it is accused of nothing."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from ntspool.app.throwaway import Authority
from ntspool.net.exam.examine import examine
from ntspool.net.tls import read_certificate
from ntspool.pool.exam.model import Verdict
from ntspool.pool.exam.plan import Plan
from tests.net.dnsserver import Zone, dns_server
from tests.net.exam.deviations import DEVIATIONS, TIMEOUT
from tests.net.exam.ntpserver import TimeBehaviour
from tests.net.exam.service import HOST, TIME_HOSTS, Service, serving

AT_ONCE = 16
DAY = timedelta(days=1)
ALLOWED = {
    "servers.slots",  # an address has none
    "ke.silence",
}
"""Findings that may be a NOTE of a service that does nothing wrong."""


def examine_now(plan):
    """Run an examination without a word on its progress."""
    return asyncio.run(examine(plan, lambda _done, _all, _next: None))


def examined(service, pki, certificate=None, **more):
    """Examine a service as fast as it goes; return the findings by id, and by verdict the ids."""
    with serving(service, certificate or pki.certificate) as port:
        fast = {"sessions": 6, "slots": 0, "families": (4,), "timeout": TIMEOUT, "rate": 100, "ca": pki.ca}
        examination = examine_now(Plan(HOST, port, **{**fast, **more}))
    found = {}
    for each in examination.findings:
        found.setdefault(each.id, []).append(each)
    return found, {verdict: {name for name in found if verdict in verdicts(found, name)} for verdict in Verdict}


def verdicts(found, name):
    """Return the verdicts of the findings of one id."""
    return [each.verdict for each in found.get(name, [])]


def test_a_service_that_does_nothing_wrong(pki):
    found, ids = examined(Service(), pki)
    assert ids[Verdict.FAIL] == set(), [found[each] for each in ids[Verdict.FAIL]]
    assert ids[Verdict.NOTE] <= ALLOWED, [found[each] for each in ids[Verdict.NOTE]]
    assert len(ids[Verdict.PASS]) > 40


@pytest.fixture(scope="module")
def examinations(request, pki):
    """Examine the services of all deviations, many at a time since most of it is waiting; return what will be found."""
    tests = [each for each in request.session.items if each.name.startswith(f"{test_a_deviation_is_found.__name__}[")]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            name: pool.submit(examined, each.service, pki, odd=each.odd, timeout=each.timeout, sessions=each.sessions)
            for name, each in (
                (test.callspec.params["name"], DEVIATIONS[test.callspec.params["name"]]) for test in tests
            )
        }


@pytest.mark.parametrize("name", DEVIATIONS)
def test_a_deviation_is_found(name, examinations):
    deviation = DEVIATIONS[name]
    found, ids = examinations[name].result()
    assert deviation.verdict in verdicts(found, deviation.finding), found.get(deviation.finding, found)
    accused = ids[Verdict.FAIL] - {deviation.finding} - deviation.also
    assert accused == set(), [found[each] for each in accused]


CERTIFICATES = {
    "of another name": ("tls.name", Verdict.FAIL, {"addresses": ["127.0.0.9"]}),
    "expired": ("tls.expiry", Verdict.FAIL, {"age": 1.5 * DAY}),
    "not valid yet": ("tls.chain", Verdict.FAIL, {"age": -1.5 * DAY}),
    "about to expire": ("tls.expiry", Verdict.NOTE, {"age": 0.9 * DAY}),
    "of an authority that nobody trusts": ("tls.chain", Verdict.FAIL, {"authority": Authority.make(datetime.now(UTC))}),
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_certificate_that_is_no_good_is_found(name, pki, tmp_path):
    finding, verdict, made = CERTIFICATES[name]
    authority = made.get("authority", pki.authority)
    addresses, age = made.get("addresses", [HOST]), made.get("age", timedelta())
    paths = authority.issue(["localhost"], addresses, tmp_path, datetime.now(UTC) - age)
    certificate = read_certificate(*paths)
    found, _ = examined(Service(), pki, certificate, odd=False)
    assert verdicts(found, finding) == [verdict], found[finding]
    assert ("ntp.answers" in found) == (verdict is Verdict.NOTE)
    found, _ = examined(Service(), pki, certificate, odd=False, insecure=True)
    assert verdicts(found, "ntp.answers") == [Verdict.PASS] * 3


def test_nobody_there(pki):
    examination = examine_now(Plan(HOST, 9, slots=0, families=(4,), ca=pki.ca, timeout=1))
    assert [each.id for each in examination.failed] == ["tcp.connect"]
    assert examination.addresses[0].connect is None


def test_the_servers_handed_out_are_told(pki):
    with serving(Service(), pki.certificate) as port:
        plan = Plan(HOST, port, sessions=6, slots=0, families=(4,), odd=False, timeout=1, rate=100, ca=pki.ca)
        examination = examine_now(plan)
    assert {each.server for each in examination.handouts} == set(TIME_HOSTS[:3])
    assert {each.address for each in examination.servers} == set(TIME_HOSTS[:3])
    assert all(abs(each.offset) < 0.1 and each.stratum == 2 and not each.naks for each in examination.servers)
    assert examination.agreement.voters == 3


@pytest.mark.parametrize(("servers", "verdict"), [(3, Verdict.PASS), (2, Verdict.NOTE)])
def test_slots(pki, tmp_path, servers, verdict):
    name = "ntp-pool.test"
    names = [name, *(f"{slot}.{name}" for slot in range(3))]
    paths = pki.authority.issue(names, [], tmp_path, datetime.now(UTC))
    zone = Zone({(each, "A"): (300, HOST) for each in names})
    service = Service(times=[TimeBehaviour()] * servers, slotted=True)
    with serving(service, read_certificate(*paths)) as port, dns_server(zone):
        resolvers = ((zone.host, zone.port),)
        plan = Plan(name, port, sessions=4, slots=3, odd=False, timeout=1, rate=100, ca=pki.ca, resolvers=resolvers)
        examination = examine_now(plan)
    assert examination.failed == ()
    slotted = {each.slot: each.server for each in examination.handouts if each.slot is not None}
    assert slotted == {slot: TIME_HOSTS[slot % servers] for slot in range(3)}
    assert [each.verdict for each in examination.findings if each.id == "servers.disjoint"] == [verdict]


def test_an_address_that_is_dead_and_one_of_another_certificate(pki, tmp_path):
    name, (second, dead) = "ntp-pool.test", ("127.0.0.45", "127.0.0.46")
    good, other = tmp_path / "good", tmp_path / "other"
    for directory, names in ((good, [name]), (other, [name, f"www.{name}"])):
        directory.mkdir()
        pki.authority.issue(names, [], directory, datetime.now(UTC))
    certificates = [read_certificate(each / "fullchain.pem", each / "privkey.pem") for each in (good, other)]
    zone = Zone({(name, "A"): (300, HOST, second, dead)})
    with (
        serving(Service(), certificates[0]) as port,
        serving(Service(), certificates[1], second, port),
        dns_server(zone),
    ):
        resolvers = ((zone.host, zone.port),)
        plan = Plan(name, port, sessions=4, slots=0, odd=False, timeout=1, rate=100, ca=pki.ca, resolvers=resolvers)
        examination = examine_now(plan)
    assert [(each.id, each.address) for each in examination.failed] == [("tcp.connect", dead)]
    assert {each.address for each in examination.addresses if each.connect is not None} == {HOST, second}
    (alike,) = (each for each in examination.findings if each.id == "tls.same-names")
    assert alike.verdict is Verdict.NOTE
    assert sum(each.sessions for each in examination.handouts) == 4 + 2
