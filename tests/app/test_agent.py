"""The agent's loop, between gateways that a test plays and real time servers."""

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from ntspool.app.agent import Agent, Pace
from ntspool.errors import LocalError, RemoteError, ShutOutError, StateError
from ntspool.net.daemons import keyfile
from ntspool.net.daemons.embedded import Embedded
from ntspool.net.daemons.restarted import stock_low
from ntspool.net.keydesk import Delivery
from ntspool.net.timeserver import TimeServer
from ntspool.pool.cookies import CookieFormat
from ntspool.pool.keyfiles import KeySet
from tests.net.daemons.test_restarted import at
from tests.waiting import DEADLINE, until

FAST = Pace(answer=0.15, settle=0.6, between=0.02, turn=0.05, recheck=0.1, retry=0.05, longest_retry=0.2)
NEVER = 1e9


def four(current):
    return KeySet(at(current).keys[:4], 2)


def ids(keys):
    return tuple(key.id for key in keys.keys)


def delivery(keys, cookies=CookieFormat.NTSPOOL):
    return Delivery(f"{cookies} {keys.keys[keys.current].id}", cookies, keys)


class Gateways:
    """What an AgentClient is to the agent; `trouble`, when set, is raised by every call."""

    def __init__(self):
        self.renewal_due = NEVER + time.time()
        self.offered = None
        self.trouble = None
        self.grants = True
        self.reports = []
        self.calls = []

    async def keyring(self, after):
        while self.offered is None or self.offered.revision == after:
            await self._call("keyring")
        return self.offered

    async def report(self, revision, proved, failure):
        await self._call("report")
        self.reports.append((revision, proved, failure))

    async def renew(self):
        await self._call("renew")
        self.renewal_due += NEVER

    async def turn(self):
        await self._call("turn")
        return self.grants

    async def turn_done(self):
        await self._call("turn_done")

    async def _call(self, name):
        self.calls.append(name)
        await asyncio.sleep(0.01)
        if self.trouble:
            raise self.trouble


@dataclass
class Restarting:
    """A daemon that reads its key file when it is started, and only then."""

    cookies: ClassVar = CookieFormat.NTSPOOL
    restarts: ClassVar = True

    key_file: Path
    server: TimeServer
    starts: int = 0
    faults: list[Exception | None] = field(default_factory=list)

    def installed(self):
        return keyfile.read(self.key_file, self.cookies)

    def outdated(self, loaded, offered):
        return stock_low(loaded, offered)

    async def install(self, keys, now):
        keyfile.install(self.key_file, self.cookies, keys, now, keyfile.owners_only(self.key_file.parent))

    async def load(self):
        self.starts += 1
        if self.faults:
            fault = self.faults.pop()
            if fault:
                raise fault
            return
        self.server.reload()


@asynccontextmanager
async def working(gateways, daemon, ntp):
    """Run an agent until the end of the block."""

    def daemon_for(cookies):
        if cookies is not daemon.cookies:
            raise LocalError(f"no {cookies} here")
        return daemon

    agent = asyncio.create_task(Agent(gateways, daemon_for, ntp, pace=FAST).run())
    try:
        yield agent
    finally:
        agent.cancel()
        with suppress(asyncio.CancelledError, LocalError):
            await agent


@asynccontextmanager
async def embedded(directory, gateways):
    """Run an agent beside an embedded time server that was started with other keys."""
    daemon = Embedded(directory / "keys")
    await daemon.install(four(100), 0)
    async with (
        TimeServer([("127.0.0.1", 0)], daemon.key_file, 3, poll_interval=0.02) as server,
        working(gateways, daemon, server.addresses[0]) as agent,
    ):
        yield daemon, server, agent


@asynccontextmanager
async def restarting(directory, started_with=100):
    path = directory / "keys"
    await Embedded(path).install(at(started_with), 0)
    async with TimeServer([("127.0.0.1", 0)], path, 3, poll_interval=NEVER) as server:
        yield Restarting(path, server)


def beside(gateways, daemon):
    return working(gateways, daemon, daemon.server.addresses[0])


async def reported(gateways, *report):
    try:
        await until(lambda: gateways.reports[-1:] == [report])
    except TimeoutError:
        pytest.fail(f"{report} is not the last of {gateways.reports}")


def good(offered):
    return (offered.revision, ids(offered.keys), None)


def test_keys_are_installed_proved_and_reported_once(tmp_path):
    async def run():
        gateways = Gateways()
        async with embedded(tmp_path, gateways) as (daemon, _, _):
            for current in (5, 6, 7):
                gateways.offered = delivery(four(current))
                await reported(gateways, *good(gateways.offered))
                assert daemon.installed() == four(current)
            await asyncio.sleep(3 * FAST.recheck)
            assert len(gateways.reports) == 3
            assert "turn" not in gateways.calls

    asyncio.run(run())


def test_the_keys_stay_while_no_gateway_answers(tmp_path):
    async def run():
        gateways = Gateways()
        async with embedded(tmp_path, gateways) as (daemon, _, agent):
            gateways.offered = delivery(four(5))
            await reported(gateways, *good(gateways.offered))
            gateways.trouble = RemoteError("nobody there")
            before = len(gateways.calls)
            await until(lambda: len(gateways.calls) > before + 5)
            assert not agent.done()
            assert daemon.installed() == four(5)
            gateways.offered = delivery(four(6))
            gateways.trouble = None
            await reported(gateways, *good(gateways.offered))

    asyncio.run(run())


def test_a_report_that_nobody_took_is_made_again(tmp_path):
    async def run():
        gateways = Gateways()
        async with embedded(tmp_path, gateways):
            gateways.offered = delivery(four(5))
            gateways.trouble = RemoteError("nobody there")
            await until(lambda: gateways.calls.count("report") >= 3)
            assert gateways.reports == []
            gateways.trouble = None
            await reported(gateways, *good(gateways.offered))

    asyncio.run(run())


def test_a_gateway_that_has_started_anew_is_told_again(tmp_path):
    """What was reported to it before is gone with its process."""

    async def run():
        gateways = Gateways()
        async with embedded(tmp_path, gateways) as (daemon, *_):
            gateways.offered = delivery(four(5), CookieFormat.CHRONY)
            complaint = ("chrony 5", (), "no chrony here")
            await reported(gateways, *complaint)
            gateways.trouble = RemoteError("nobody there")
            asked = gateways.calls.count("keyring")
            await until(lambda: gateways.calls.count("keyring") > asked + 1)
            gateways.trouble = None
            await until(lambda: gateways.reports == [complaint, complaint])
            gateways.offered = delivery(four(6))
            await reported(gateways, *good(gateways.offered))
            assert daemon.installed() == four(6)

    asyncio.run(run())


def test_a_revoked_agent_ends_and_leaves_the_keys(tmp_path):
    async def run():
        gateways = Gateways()
        async with embedded(tmp_path, gateways) as (daemon, _, agent):
            gateways.offered = delivery(four(5))
            await reported(gateways, *good(gateways.offered))
            gateways.trouble = ShutOutError("revoked")
            with pytest.raises(LocalError, match="revoked; the daemon keeps its keys, enrol this agent again"):
                await asyncio.wait_for(agent, DEADLINE)
            assert daemon.installed() == four(5)

    asyncio.run(run())


def test_keys_for_another_daemon_are_not_installed(tmp_path):
    async def run():
        gateways = Gateways()
        async with embedded(tmp_path, gateways) as (daemon, _, _):
            gateways.offered = delivery(four(5), CookieFormat.CHRONY)
            await reported(gateways, "chrony 5", (), "no chrony here")
            assert daemon.installed() == four(100)
            gateways.offered = delivery(four(5))
            await reported(gateways, *good(gateways.offered))

    asyncio.run(run())


def test_keys_that_somebody_else_changed_are_put_back(tmp_path):
    async def run():
        gateways = Gateways()
        async with embedded(tmp_path, gateways) as (daemon, _, _):
            gateways.offered = delivery(four(5))
            await reported(gateways, *good(gateways.offered))
            await daemon.install(four(50), 0)
            await until(lambda: daemon.installed() == four(5))
            await reported(gateways, *good(gateways.offered))

    asyncio.run(run())


def test_a_silent_daemon_is_reported_and_comes_back(tmp_path):
    async def run():
        gateways = Gateways()
        async with embedded(tmp_path, gateways) as (daemon, server, _):
            gateways.offered = delivery(four(5))
            await reported(gateways, *good(gateways.offered))
            address = server.addresses[0]
            await server.stop()
            await until(lambda: "ICMP" in (gateways.reports[-1][2] or ""))
            assert gateways.reports[-1][:2] == (gateways.offered.revision, ())
            async with TimeServer([address], daemon.key_file, 3):
                await reported(gateways, *good(gateways.offered))

    asyncio.run(run())


def test_a_certificate_is_renewed_when_it_is_due(tmp_path):
    async def run():
        gateways = Gateways()
        gateways.renewal_due = time.time() + 0.1
        async with embedded(tmp_path, gateways):
            await until(lambda: "renew" in gateways.calls)
            await until(lambda: gateways.renewal_due > NEVER)
            await asyncio.sleep(0.1)
            assert gateways.calls.count("renew") == 1

    asyncio.run(run())


def test_a_daemon_is_restarted_in_its_turn_and_only_when_its_stock_is_low(tmp_path):
    async def run():
        gateways = Gateways()
        gateways.grants = False
        async with restarting(tmp_path) as daemon, beside(gateways, daemon):
            gateways.offered = delivery(at(10))
            await reported(gateways, "ntspool 10", (), "waits for its turn to restart the daemon")
            await until(lambda: gateways.calls.count("turn") >= 3)
            assert daemon.starts == 0
            gateways.grants = True
            await reported(gateways, *good(gateways.offered))
            assert (daemon.starts, gateways.calls.count("turn_done")) == (1, 1)
            asked = gateways.calls.count("turn")
            gateways.offered = delivery(at(11))
            # The last key is not in its file yet.
            await reported(gateways, "ntspool 11", ids(at(11))[:-1], None)
            assert (daemon.starts, gateways.calls.count("turn")) == (1, asked)
            gateways.offered = delivery(at(12))
            await reported(gateways, *good(gateways.offered))
            assert (daemon.starts, gateways.calls.count("turn_done")) == (2, 2)

    asyncio.run(run())


def test_without_a_gateway_nothing_is_restarted(tmp_path):
    async def run():
        gateways = Gateways()
        gateways.trouble = RemoteError("nobody there")
        async with restarting(tmp_path) as daemon, beside(gateways, daemon):
            gateways.offered = delivery(at(10))
            await until(lambda: gateways.calls.count("turn") >= 3)
            assert (daemon.starts, gateways.reports) == (0, [])
            gateways.trouble = None
            await reported(gateways, *good(gateways.offered))

    asyncio.run(run())


def test_while_it_waits_for_its_turn_it_reports_what_is_proved(tmp_path):
    async def run():
        gateways = Gateways()
        async with restarting(tmp_path, started_with=10) as daemon, beside(gateways, daemon):
            gateways.grants = False
            gateways.offered = delivery(at(12))
            await reported(gateways, "ntspool 12", (10, 11, 12, 13), None)
            assert daemon.starts == 0

    asyncio.run(run())


@pytest.mark.parametrize("offered", [10, 11])
def test_an_agent_that_starts_again_proves_what_is_there_and_asks_for_no_turn(tmp_path, offered):
    async def run():
        gateways = Gateways()
        async with restarting(tmp_path, started_with=10) as daemon, beside(gateways, daemon):
            gateways.offered = delivery(at(offered))
            held = tuple(number for number in ids(at(offered)) if number in ids(at(10)))
            await reported(gateways, gateways.offered.revision, held, None)
            assert (daemon.starts, gateways.calls.count("turn")) == (0, 0)

    asyncio.run(run())


def test_an_agent_that_died_between_writing_and_restarting_finishes(tmp_path):
    async def run():
        gateways = Gateways()
        async with restarting(tmp_path, started_with=8) as daemon:
            await daemon.install(at(10), 0)
            async with beside(gateways, daemon):
                gateways.offered = delivery(at(10))
                await reported(gateways, *good(gateways.offered))
                assert daemon.starts == 1

    asyncio.run(run())


def test_a_restart_that_did_not_help_is_reported_and_not_repeated(tmp_path):
    async def run():
        gateways = Gateways()
        async with restarting(tmp_path) as daemon, beside(gateways, daemon):
            daemon.faults = [None]
            gateways.offered = delivery(at(10))
            await until(lambda: gateways.reports)
            revision, proved, failure = gateways.reports[-1]
            assert (revision, proved) == ("ntspool 10", ())
            assert failure.startswith("key 8: NTS NAK; key 9: NTS NAK")
            await asyncio.sleep(5 * FAST.longest_retry)
            # Nobody else has a turn while this backend may be down.
            assert (daemon.starts, gateways.calls.count("turn_done")) == (1, 0)
            daemon.server.reload()
            await reported(gateways, *good(gateways.offered))
            assert (daemon.starts, gateways.calls.count("turn_done")) == (1, 1)

    asyncio.run(run())


def test_a_restart_command_that_fails_is_reported_and_tried_again(tmp_path):
    async def run():
        gateways = Gateways()
        async with restarting(tmp_path) as daemon, beside(gateways, daemon):
            daemon.faults = [LocalError("no such unit " + "x" * 1000)]
            gateways.offered = delivery(at(10))
            await reported(gateways, *good(gateways.offered))
            assert gateways.reports[0][2].startswith("no such unit")
            assert len(gateways.reports[0][2]) == 500
            assert (daemon.starts, gateways.calls.count("turn_done")) == (2, 1)

    asyncio.run(run())


def test_nothing_secret_is_logged(tmp_path, capfd):
    async def run():
        gateways = Gateways()
        async with restarting(tmp_path) as daemon, beside(gateways, daemon):
            daemon.faults = [None, LocalError("broken")]
            for current in (10, 12):
                gateways.offered = delivery(at(current))
                await until(lambda: gateways.reports and gateways.reports[-1][0] == gateways.offered.revision)

    asyncio.run(run())
    logged = "".join(capfd.readouterr())
    assert "key file written" in logged
    for key in at(10).keys + at(12).keys:
        assert key.secret.reveal().hex() not in logged
        assert repr(key.secret.reveal())[2:-1] not in logged


def test_a_certificate_that_cannot_be_kept_is_asked_for_again(tmp_path):
    async def run():
        gateways = Gateways()
        gateways.renewal_due, asked = 0.0, []

        async def renew():
            asked.append(True)
            raise StateError("No space left on device")

        gateways.renew = renew
        async with embedded(tmp_path, gateways):
            await until(lambda: len(asked) > 1)

    asyncio.run(run())
