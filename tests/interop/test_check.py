"""`ntspool check` of real NTS services: none that is well is accused, and what each does against the RFC is told."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ntspool.app.throwaway import Authority
from tests.interop.daemons import Daemon, chronyd, endpoint, ntpd_rs, ntpsec
from tests.interop.lab import Network, wait_until
from tests.interop.ownkeys import own_ke
from tests.interop.pool import HOSTS, Member, Pool, laid_out

TIMEOUT = 120
SLOTS = 4
SERVERS = 5
MEASUREMENTS = 10

EVERYBODYS = {"ke.uncritical-end", "ke.silence"}
DEVIATIONS = {
    "chronyd 4.3": EVERYBODYS,
    "chronyd 4.9": EVERYBODYS | {"ke.aead-30-unannounced"},
    "ntpd-rs": EVERYBODYS,
    "NTPsec": EVERYBODYS
    | {"tls.wrong-alpn", "ke.aead-30", "ke.aead-30-unannounced", "ke.no-common-protocol", "ke.no-common-aead"}
    | {"ke.unknown-protocol-offered", "ke.unknown-critical-record", "ke.fragmented", "ke.empty", "ke.no-aead"}
    | {"ke.protocol-twice", "ke.aead-twice", "ke.error-sent"},
}
"""What the daemons do otherwise than the RFC says, at no client's cost."""

OPTIONAL = {
    "chronyd 4.3": {"ke.aead-17", "ke.aead-30"},
    "chronyd 4.9": {"ke.aead-17"},
    "ntpd-rs": {"ke.aead-30", "ntp.placeholders", "tls.no-alpn"},
    "NTPsec": {"tls.no-alpn", "ntp.damaged-cookie", "ntp.forged-request"},
}
"""What they leave out or do that the RFC lets them."""

SETTING = {"dns.addresses", "servers.spread-ipv4"}
"""What is told of every service of one server that is called localhost."""


@contextmanager
def synchronised_ntpd_rs() -> Iterator[Daemon]:
    """Run an ntpd-rs that has come to believe its source."""
    # A source at an address of its own it would take for itself.
    address = "127.0.0.22"
    with chronyd(addresses=[address]) as source, ExitStack() as stack:
        _, port = source.udp.getpeername()
        daemon = stack.enter_context(ntpd_rs(source=endpoint(address, port), ke=own_ke("127.0.0.1")))
        # It does not know how fast its clock runs before, and says so by a great root dispersion.
        wait_until("ntpd-rs to know its clock", lambda: daemon.log().count("Offset:") >= MEASUREMENTS)
        yield daemon


DAEMONS = {
    "chronyd 4.3": chronyd,
    "chronyd 4.9": lambda: chronyd(program="chronyd-new"),
    "ntpd-rs": synchronised_ntpd_rs,
    "NTPsec": ntpsec,
}


def check(network: Network, port: int, ca: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `ntspool check` of what is at a port of localhost."""
    service = ["check", f"localhost:{port}", f"--ca={ca}", "--rate=20", "-4"]
    command = [*network.inside, sys.executable, "-m", "ntspool", *service, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)


def told(done: subprocess.CompletedProcess[str], verdict: str, *, deviation: bool = False) -> set[str]:
    """Return the ids of the findings of a verdict in what a command has printed as JSON."""
    assert done.stdout, done.stderr
    findings: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    return {each["id"] for each in findings if (each["verdict"], each["deviation"]) == (verdict, deviation)}


def check_daemon(name: str) -> tuple[subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
    """Run a daemon, and check it for a reader and for a monitor."""
    with DAEMONS[name]() as daemon:
        where = daemon.network, daemon.ke_port, daemon.directory / "ca.pem"
        done = check(*where, "--json", "--slots=0", "--sessions=2")
        return done, check(*where, "--nagios", "--days-left", "0", "0")


@pytest.fixture(scope="module")
def checks():
    """Check all daemons at the same time: most of it is waiting."""
    with ThreadPoolExecutor(len(DAEMONS)) as pool:
        yield {name: pool.submit(check_daemon, name) for name in DAEMONS}


@pytest.mark.parametrize("name", DAEMONS)
def test_a_daemon_that_is_well(name, checks):
    done, monitored = checks[name].result()
    assert told(done, "fail") == set(), done.stdout
    assert told(done, "note", deviation=True) == DEVIATIONS[name]
    assert told(done, "note") == OPTIONAL[name] | SETTING
    assert told(done, "skip") == set()
    assert done.returncode == 0
    assert (monitored.returncode, monitored.stdout[:8]) == (0, "NTS OK -"), monitored.stdout


@contextmanager
def slotted_pool() -> Iterator[Pool]:
    """Run a gateway whose certificate covers its slots too, with its backends."""
    members = [Member(f"ntp-{n}", (f"127.0.0.{10 + n}",)) for n in range(1, SERVERS + 1)]
    with laid_out(members) as pool, ExitStack() as stack:
        now = datetime.now(UTC)
        authority = Authority.make(now)
        authority.write(pool.ca)
        slots = [f"{slot}.localhost" for slot in range(SLOTS)]
        authority.issue(["localhost", *slots], HOSTS, pool.directory, now)
        for each in members:
            stack.enter_context(pool.daemon(each.name))
        stack.enter_context(pool.gateway())
        pool.wait_until_up(*pool.members)
        yield pool


def test_our_gateway():
    with slotted_pool() as pool:
        done = check(pool.network, pool.port, pool.ca, "--json", f"--slots={SLOTS}", "--sessions=30", "--timeout=8")
        examination = json.loads(done.stdout)
        assert told(done, "fail") == set(), done.stdout
        assert told(done, "note", deviation=True) == set()
        assert told(done, "note") == {"dns.addresses", "ke.aead-17", "ke.aead-30"}
        assert done.returncode == 0
        own = {each["server"] for each in examination["handouts"] if each["slot"] is None}
        assert own == {address for each in pool.members.values() for address in each.addresses}
        slotted = [each["server"] for each in examination["handouts"] if each["slot"] is not None]
        assert len(set(slotted)) == len(slotted) == SLOTS
        assert {each["address"] for each in examination["servers"]} == own | set(slotted)
        assert examination["agreement"]["voters"] == SERVERS
