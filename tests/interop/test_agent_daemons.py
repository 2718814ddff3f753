"""The agent and the daemons that it commands: real ones, whose keys are proved, not believed."""

import asyncio
import os
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ntspool.errors import LocalError
from ntspool.net.daemons.chrony import Chrony
from ntspool.net.daemons.chronyconf import ChronySetup, contradictions
from ntspool.net.daemons.chronysnippet import install_snippet
from ntspool.net.daemons.restarted import NtpdRs
from ntspool.net.prove import prove
from ntspool.pool.cookies import CookieFormat
from ntspool.pool.keyfiles import render
from ntspool.pool.keyring import create
from tests.app.test_agent import Gateways, good, ids, reported, working
from tests.app.test_agent import delivery as offer
from tests.interop.daemons import chronyd, ntpd_rs
from tests.interop.lab import find, here, working_directory
from tests.interop.supervised import supervised
from tests.waiting import until

CHRONYD = pytest.mark.parametrize("program", ["chronyd", "chronyd-new"])


def keyring(rotations=0):
    ring = create(0, os.urandom)
    yield ring
    for _ in range(rotations):
        ring = ring.rotate(0, os.urandom)
        yield ring


def chrony(server):
    # As its own user: where the tests are not root's, nobody else may command it.
    words = (*server.network.unprivileged, find("chronyc"))
    return Chrony(server.key_file, server.directory / "run" / "chronyd.sock", words)


def ntp(server):
    return server.udp.getpeername()


def proved(server, cookies, keys):
    return asyncio.run(prove(*ntp(server), cookies, keys.keys, timeout=1))


@CHRONYD
def test_chronyd_gets_new_keys_while_it_runs(program):
    async def carry(server):
        gateways = Gateways()
        async with working(gateways, chrony(server), ntp(server)):
            for ring in keyring(rotations=10):
                gateways.offered = offer(ring.keys("g", CookieFormat.CHRONY), CookieFormat.CHRONY)
                await reported(gateways, *good(gateways.offered))
        return gateways

    with chronyd(program=program) as server:
        gateways = asyncio.run(carry(server))
        assert [report for report in gateways.reports if report[2]] == []
        assert len(gateways.reports) == 11
        assert server.key_file.stat().st_uid == server.network.owner
        assert server.key_file.stat().st_mode & 0o777 == 0o600


@CHRONYD
def test_that_chronyd_says_ok_is_not_believed(program):
    keys = create(0, os.urandom).keys("g", CookieFormat.CHRONY)
    with chronyd(program=program, extra="ntsrotate 600") as server:
        daemon = chrony(server)
        asyncio.run(daemon.install(keys, 0))
        asyncio.run(daemon.load())
        proof = proved(server, CookieFormat.CHRONY, keys)
        assert (proof.proved, proof.refused) == ((), set(ids(keys)))
        setup = ChronySetup(server.key_file.parent, socket=daemon.socket)
        (contradiction,) = contradictions(server.directory / "conf", setup)
        assert "ntsrotate 600" in contradiction


def test_chronyd_without_its_socket_is_told():
    with chronyd() as server, pytest.raises(LocalError, match="Could not open connection to daemon"):
        asyncio.run(replace(chrony(server), socket=server.directory / "run" / "other.sock").load())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may command a chronyd of another user")
def test_root_commands_chronyd_as_it_is_installed():
    with chronyd() as server:
        asyncio.run(replace(chrony(server), chronyc=("chronyc",)).load())


@CHRONYD
def test_the_snippet_makes_chronyd_a_backend(program):
    keys = create(0, os.urandom).keys("g", CookieFormat.CHRONY)
    with working_directory() as directory:
        setup = ChronySetup(directory, directory / "ntspool.crt", directory / "ntspool.key")
        here().give(directory)
        install_snippet(directory / "ntspool.conf", setup, datetime.now(UTC))
        # What it contradicts stands before it, and loses.
        extra = f"ntsrotate 600\nntsdumpdir /nowhere\ninclude {directory}/ntspool.conf"
        with chronyd(program=program, extra=extra) as server:
            assert contradictions(server.directory / "conf", replace(setup, socket=chrony(server).socket)) == []
            daemon = replace(chrony(server), key_file=directory / "ntskeys")
            asyncio.run(daemon.install(keys, 0))
            asyncio.run(daemon.load())
            assert proved(server, CookieFormat.CHRONY, keys).complete


def test_ntpd_rs_is_restarted_every_other_rotation(monkeypatch):
    rings = list(keyring(rotations=6))
    offers = [offer(ring.keys("g", CookieFormat.NTPD_RS), CookieFormat.NTPD_RS) for ring in rings]

    async def carry(server, daemon):
        gateways = Gateways()
        async with working(gateways, daemon, ntp(server)):
            for offered in offers:
                gateways.offered = offered
                await reported_all_but_the_last(gateways, offered)
        return gateways

    keys = render(CookieFormat.NTPD_RS, offers[0].keys, int(time.time()))
    with supervised(monkeypatch, "ntp-daemon") as supervisor, ntpd_rs(keys) as server:
        gateways = asyncio.run(carry(server, NtpdRs(server.key_file, supervisor.command("ntp-1", server))))
        # It holds three futures: rotations 2, 4 and 6 find the stock low.
        assert gateways.calls.count("turn") == len(supervisor.restarts()) == 3
        # Without a source it serves no good time, and so keeps its turn until that expires.
        assert gateways.calls.count("turn_done") == 0
        assert server.log().count("Could not store") == (3 if os.geteuid() == 0 else 0)
        assert proved(server, CookieFormat.NTPD_RS, offers[-1].keys).complete


async def reported_all_but_the_last(gateways, offered):
    """Wait until every key of the delivery is proved, the last perhaps not: it may not be in the daemon's file yet."""
    await until(lambda: gateways.reports[-1:] and gateways.reports[-1][0] == offered.revision)
    await until(lambda: gateways.reports[-1][2] is None and gateways.reports[-1][1][:5] == ids(offered.keys)[:5])
