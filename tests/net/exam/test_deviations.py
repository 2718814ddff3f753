"""Services that do one thing wrong, and are told so; the same service without it is accused of nothing."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from ntspool.app.throwaway import Authority
from ntspool.net.exam.examine import examine
from ntspool.net.tls import read_certificate
from ntspool.pool.exam.model import Verdict
from ntspool.pool.exam.plan import Plan
from tests.net.exam.deviations import DEVIATIONS
from tests.net.exam.service import HOST, TIME_HOSTS, Service, serving

DAY = timedelta(days=1)
ALLOWED = {
    "servers.slots",  # an address has none
    "ntp.spent-cookie",
    "ke.silence",
}
"""Findings that may be a NOTE of a service that does nothing wrong."""


def examined(service, pki, certificate=None, *, odd=True):
    """Examine a service as fast as it goes; return the findings by id, and by verdict the ids."""
    with serving(service, certificate or pki.certificate) as port:
        plan = Plan(HOST, port, sessions=6, slots=0, families=(4,), odd=odd, timeout=3, rate=100, ca=pki.ca)
        examination = asyncio.run(examine(plan, lambda _done, _all, _next: None))
    found = {}
    for each in examination.findings:
        found.setdefault(each.id, []).append(each)
    return found, {
        verdict: {each.id for each in examination.findings if each.verdict is verdict} for verdict in Verdict
    }


def test_a_service_that_does_nothing_wrong(pki):
    found, ids = examined(Service(), pki)
    assert ids[Verdict.FAIL] == set(), [found[each] for each in ids[Verdict.FAIL]]
    assert ids[Verdict.NOTE] <= ALLOWED, [found[each] for each in ids[Verdict.NOTE]]
    assert len(ids[Verdict.PASS]) > 40


@pytest.mark.parametrize("name", DEVIATIONS)
def test_a_deviation_is_found(name, pki):
    deviation = DEVIATIONS[name]
    found, ids = examined(deviation.service, pki, odd=deviation.odd)
    assert deviation.finding in found, {key: [each.text for each in value] for key, value in found.items()}
    verdicts = [each.verdict for each in found[deviation.finding]]
    assert deviation.verdict in verdicts, found[deviation.finding]
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
    found, _ = examined(Service(), pki, read_certificate(*paths), odd=False)
    assert [each.verdict for each in found[finding]] == [verdict], found[finding]


def test_nobody_there(pki):
    plan = Plan(HOST, 9, slots=0, families=(4,), ca=pki.ca, timeout=1)
    examination = asyncio.run(examine(plan, lambda _done, _all, _next: None))
    assert [each.id for each in examination.failed] == ["tcp.connect"]
    assert examination.addresses[0].connect is None


def test_the_servers_handed_out_are_told(pki):
    with serving(Service(), pki.certificate) as port:
        plan = Plan(HOST, port, sessions=6, slots=0, families=(4,), odd=False, timeout=3, rate=100, ca=pki.ca)
        examination = asyncio.run(examine(plan, lambda _done, _all, _next: None))
    assert {each.server for each in examination.handouts} == set(TIME_HOSTS[:3])
    assert {each.address for each in examination.servers} == set(TIME_HOSTS[:3])
    assert all(abs(each.offset) < 0.1 and each.stratum == 2 and not each.naks for each in examination.servers)
    assert examination.agreement.voters == 3
