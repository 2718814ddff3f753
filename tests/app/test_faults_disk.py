"""A disk that is full, and one that has become read-only, below a gateway and an agent that work."""

import asyncio
import os
import shutil
import signal
import time

import pytest

from ntspool.errors import RemoteError, StateError
from ntspool.net.agentclient import Gateway, enrol
from ntspool.net.enrolment import create_token
from ntspool.net.store import FileStore
from tests.app.breakable import AGENT, site
from tests.processes import workers_of

FULL = "cannot be written: No space left on device"
READ_ONLY = "cannot be written: Read-only file system"


def test_disks_that_are_full_and_read_only(tmp_path, pki):
    async def scene():
        async with site(tmp_path, pki, interval="200ms", timeout="190ms", workers=2) as place:
            agent = tmp_path / "agent"
            agent.mkdir()
            shutil.copy2(place.around.key_file(AGENT), agent / "keys")
            there = await place.mount(place.around.state, agent)
            await place.serve_time(AGENT, there.path(agent / "keys"))
            await place.serve_time("ntp-2")
            await place.start()
            await _an_agents_full_disk(place, there, agent)
            await _a_gateways_full_disk(place, there)
            await _a_gateways_read_only_disk(place, there)
            place.check_that_nothing_broke()

    asyncio.run(scene())


async def _an_agents_full_disk(place, there, agent):
    """No token is spent, no key file torn; its backend is given out with the keys that it has."""
    token, gateways = _token(place, there, AGENT), [Gateway("127.0.0.1", place.control)]
    there.fill(agent)
    with pytest.raises(StateError, match=FULL):
        await enrol(gateways, token, there.path(agent))
    there.empty(agent)
    await enrol(gateways, token, there.path(agent))
    await place.start_agent(agent, agent / "keys")
    await place.until(lambda: place.log("gateway", "agent reports"))

    held = there.path(agent / "keys").read_bytes()
    there.fill(agent)
    async with place.steady():
        await place.ask("POST", "/v1/keys/rotate")
        await place.until(lambda: place.log("agent", "keys not proved"))
        assert FULL in place.log("agent", "keys not proved")[0]["reason"]
        await place.until(lambda: FULL in str(place.log("gateway", "agent reports")[-1]["failure"]))
        assert there.path(agent / "keys").read_bytes() == held
        assert AGENT in await place.minting()
        there.empty(agent)
        # Its next attempt comes by itself.
        await place.until(lambda: place.log("gateway", "agent reports")[-1]["failure"] is None)
    assert await place.current() == 4
    assert there.path(agent / "keys").read_bytes() != held


async def _a_gateways_full_disk(place, there):
    """Nothing is minted under what is not kept, no order half given; a crash meanwhile costs nothing either."""
    state, token = place.around.state, _token(place, there, "ntp-2")
    there.fill(state)
    kept = _entries(there.path(state))
    before = await place.minting()
    async with place.steady():
        assert await place.ntspool("keys", "rotate") == (1, f"ntspool: {state} {FULL}\n")
        await _check_that_nothing_is_changed(place, FULL)
        with pytest.raises(RemoteError):
            await enrol([Gateway("127.0.0.1", place.control)], token, there.path(place.around.directory / "other"))
        assert FULL in place.log("gateway", "control: cannot answer")[0]["reason"]
        # What needs no disk goes on.
        await place.ask("POST", "/v1/reload")
        assert await place.minting() == before
    await _lose_a_worker(place)
    async with place.steady():
        await place.until(lambda: place.log("gateway", "history cannot be written"))
        assert place.log("gateway", "history cannot be written")[0]["reason"] == "database or disk is full"
        assert "the history cannot be written; the log has the reason" in await place.problems()
    assert FULL in place.log("gateway", "events not kept for the next start")[0]["reason"]
    assert _entries(there.path(state)) == kept

    await place.kill("gateway")
    await place.start()
    async with place.steady():
        assert await place.current() == 4
        there.empty(state)
        await place.ask("POST", "/v1/keys/rotate")
        assert await place.current() == 5
        await enrol([Gateway("127.0.0.1", place.control)], token, there.path(place.around.directory / "other"))


async def _a_gateways_read_only_disk(place, there):
    """The same; only that a gateway cannot be started on it, while the workers of the last one serve on."""
    state = place.around.state
    there.remount(state, "ro")
    async with place.steady():
        await _check_that_nothing_is_changed(place, READ_ONLY)
    await _lose_a_worker(place)
    await place.kill("gateway")
    code, said = await place.start(serves=False)
    assert code == 1
    assert said.splitlines()[-1] == f"ntspool: cannot listen on {state}/handover.sock: Read-only file system"
    await place.session()
    there.remount(state, "rw")
    async with place.steady():
        await place.start()
    assert await place.current() == 5


async def _check_that_nothing_is_changed(place, words):
    current = await place.current()
    await place.refused(words, "POST", "/v1/keys/revoke", {"epoch": current})
    await place.refused(words, "POST", "/v1/backends/ntp-2/drain")
    assert await place.current() == current
    assert {each["admin"] for each in (await place.ask("GET", "/v1/status"))["backends"]} == {"ready"}


async def _lose_a_worker(place):
    victim = min(workers_of(place.around.state))
    os.kill(victim, signal.SIGKILL)
    await place.until(lambda: len(workers_of(place.around.state) - {victim}) == 2)
    await place.until(lambda: len(place.log("gateway", "worker serving")) > 2)


def _token(place, there, name):
    return create_token(FileStore(there.path(place.around.state)), name, time.time(), 3600.0, os.urandom)


def _entries(directory):
    """Return what is kept, without what may be lost: the history, and what is written for the next start only."""
    return {each.name: each.read_bytes() for each in directory.iterdir() if each.name in ("keyring", "agents")}
