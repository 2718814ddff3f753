"""A whole examination: names, slots, trust, pace and its end."""

import asyncio
import socket
from dataclasses import replace
from datetime import UTC, datetime

import dns.flags
import pytest

from ntspool.app.throwaway import Authority
from ntspool.errors import CertificateError
from ntspool.net.exam import visiting
from ntspool.net.exam.course import Course
from ntspool.net.exam.examine import examine
from ntspool.net.exam.sessions import ordinary
from ntspool.net.tls import read_certificate
from ntspool.pool.exam.model import Section, Verdict
from ntspool.pool.exam.plan import Plan
from ntspool.wire import records
from tests.net.dnsserver import Zone, dns_server
from tests.net.exam.service import TIME_HOSTS, Service, serving
from tests.pool.exam.seen import answered, ids

QUICK = Plan("localhost", sessions=0, slots=0, families=(4,), odd=False, timeout=3, rate=100)


def nothing(_done, _all, _next):
    """Take note of no progress."""


def examined(plan, progress=nothing):
    return asyncio.run(examine(plan, progress))


@pytest.fixture
def slotted(pki, tmp_path):
    """A certificate for a service with two slots."""
    names = ["ntp.test", "0.ntp.test", "1.ntp.test"]
    return read_certificate(*pki.authority.issue(names, [], tmp_path, datetime.now(UTC)))


def proved(_query, _tcp, regular):
    """Say that DNSSEC proves everything."""
    regular.flags |= dns.flags.AD
    return regular.to_wire(max_size=65535)


def test_names_and_slots_are_looked_up(pki, slotted):
    records = {
        ("ntp.test", "A"): (90, "127.0.0.1"),
        ("0.ntp.test", "A"): (90, "127.0.0.1"),
        ("_ntske._tcp.ntp.test", "SRV"): (60, "0 0 4460 ntp.test."),
    }
    with dns_server(Zone(records, override=proved)) as zone, serving(Service(), slotted) as port:
        plan = replace(
            QUICK, host="ntp.test", port=port, slots=3, ca=pki.ca, resolvers=((zone.host, zone.port),), sessions=1
        )
        found = examined(plan)
    assert [each for each in found.failed if each.id != "dns.slots"] == []
    by_type = {each.type: each for each in found.lookups}
    assert (by_type["A"].records, by_type["A"].ttl, by_type["A"].authenticated) == (("127.0.0.1",), 90.0, True)
    assert by_type["SRV"].records == ("0 0 4460 ntp.test.",)
    told = ids(found.findings)
    assert (told["dns.dnssec"], told["dns.srv"], told["dns.slots"]) == ("pass", "note", "note")
    (lost,) = (each.text for each in found.findings if each.id == "dns.slots")
    assert "covers 1.ntp.test," in lost
    # The third slot's name is not in the certificate.
    assert {(each.name, each.slot) for each in found.handouts} == {("ntp.test", None), ("0.ntp.test", 0)}


def test_a_name_that_does_not_resolve():
    with dns_server(Zone()) as zone:
        found = examined(replace(QUICK, host="nowhere.test", resolvers=((zone.host, zone.port),)))
    assert ids(found.findings)["dns.addresses"] == "fail"
    assert {each.verdict for each in found.of(Section.NTP)} == {Verdict.SKIP}
    assert (found.connections, found.requests) == (0, 0)


def test_an_address_without_a_route_is_no_fault_of_the_service(pki, monkeypatch):
    monkeypatch.setattr(visiting, "_has_way", lambda address: ":" not in address)
    with dns_server(Zone({("t.test", "A"): (60, TIME_HOSTS[0]), ("t.test", "AAAA"): (60, "::1")})) as zone:
        plan = replace(QUICK, families=(4, 6), resolvers=((zone.host, zone.port),))
        seen = answered(records.ntpv4_server("t.test", critical=True))
        (found,) = asyncio.run(visiting.targets(Course(plan, nothing), seen))
    assert found.address == TIME_HOSTS[0]


def test_what_is_not_trusted_ends_it_unless_told_otherwise(pki, tmp_path):
    other = tmp_path / "other.pem"
    Authority.make(datetime.now(UTC)).write(other)
    with serving(Service(), pki.certificate) as port:
        plan = replace(QUICK, port=port, ca=other)
        strict, insecure = examined(plan), examined(replace(plan, insecure=True))
    assert ids(strict.failed) == {"tls.chain": "fail"}
    assert not strict.servers
    assert {each.verdict for each in strict.of(Section.NTP)} == {Verdict.SKIP}
    assert not insecure.failed
    assert ids(insecure.findings)["tls.chain"] == "note"
    assert len(insecure.servers) == 1


def test_a_ca_that_cannot_be_used_is_our_own_fault(tmp_path):
    with pytest.raises(CertificateError):
        examined(replace(QUICK, ca=tmp_path / "nowhere.pem"))


def test_the_time_it_may_take_is_kept(pki):
    with serving(Service(), pki.certificate) as port:
        # One session every 5 s; the second is one too many.
        found = examined(replace(QUICK, port=port, ca=pki.ca, rate=0.2, limit=1))
    assert found.connections == 1
    skipped = [each for each in found.findings if each.verdict is Verdict.SKIP]
    assert {each.section for each in skipped} == set(Section) - {Section.DNS}
    assert all("1 s are over" in each.text for each in skipped)
    assert not found.failed


def test_progress_comes_to_its_end(pki):
    steps = []
    with serving(Service(), pki.certificate) as port:
        found = examined(replace(QUICK, port=port, ca=pki.ca), lambda *step: steps.append(step))
    done, expected, words = steps[-1]
    assert done == expected == found.connections + found.requests
    assert words == "done"
    assert all(done <= expected for done, expected, _ in steps)
    assert [done for done, _, _ in steps] == sorted(done for done, _, _ in steps)


def test_sessions_do_not_come_faster_than_told(pki):
    """Whoever limits sessions by address sees no two within the time that is kept between them."""
    came = []

    async def run():
        async def connected(_, writer):
            came.append(asyncio.get_running_loop().time())
            writer.close()

        async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            course = Course(replace(QUICK, port=port, ca=pki.ca, rate=10), nothing)
            for _ in range(3):
                await ordinary(course, "127.0.0.1", "localhost")
        return course

    course = asyncio.run(run())
    assert course.connections == 3
    # The second may come late and the third in time, but not both early.
    assert came[2] - came[0] >= 0.1


def test_a_port_where_nobody_is_and_one_that_says_nothing():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        plan = replace(QUICK, host="127.0.0.1", port=mute.getsockname()[1], timeout=0.3)
        assert ids(examined(plan).failed) == {"tls.handshake": "fail"}
    assert ids(examined(plan).failed) == {"tcp.connect": "fail"}


def test_whoever_turns_us_away_is_left_alone(pki):
    came = []

    async def run():
        async def connected(_, writer):
            came.append(True)
            writer.close()

        async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
            course = Course(replace(QUICK, port=server.sockets[0].getsockname()[1], ca=pki.ca), nothing)
            return [await ordinary(course, "127.0.0.1", "localhost") for _ in range(5)]

    seen = asyncio.run(run())
    assert len(came) == 3
    assert seen[3] is seen[4] is seen[2]


def test_a_wildcard_alone_promises_no_slots(pki, tmp_path):
    wild = read_certificate(*pki.authority.issue(["ntp.test", "*.ntp.test"], [], tmp_path, datetime.now(UTC)))
    with dns_server(Zone({("ntp.test", "A"): (90, "127.0.0.1")})) as zone, serving(Service(), wild) as port:
        plan = replace(QUICK, host="ntp.test", port=port, slots=2, ca=pki.ca, resolvers=((zone.host, zone.port),))
        found = examined(plan)
    assert "dns.slots" not in ids(found.findings)
    assert {each.slot for each in found.handouts} == {None}
