"""A gateway with backends of both kinds, as operators see and use it."""

import asyncio
import os
import signal
from pathlib import Path

from click.testing import CliRunner

from ntspool.app.adminclient import call, call_list
from ntspool.app.cli import cli
from ntspool.net.keyexchange import Server, exchange_keys
from ntspool.wire.messages import Request, Response
from ntspool.wire.secret import Secret
from tests.app.mixedpool import ALL, OWN, PATIENCE, SHARING, mixed_pool
from tests.processes import workers_of
from tests.waiting import until

LIMIT = 120.0
PATIENT = "interval: 2s, timeout: 1900ms, rise: 1, fall: 3"


def _parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def play(directory, pki, scene):
    async def run():
        async with asyncio.timeout(LIMIT), mixed_pool(directory, pki, health=PATIENT) as pool:
            await scene(pool, directory / "state")

    asyncio.run(run())


async def ask(state, verb, path, body=None):
    return await asyncio.to_thread(call, state / "admin.sock", verb, path, body)


async def run_command(directory, *words):
    result = await asyncio.to_thread(CliRunner().invoke, cli, [*words, "-c", str(directory / "backends.yaml")])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_operators_see_both_kinds_and_move_them_alike(tmp_path, pki):
    async def scene(pool, state):
        given = [pool.given(await pool.session(name)) for name in [OWN, SHARING, ALL] * 8]
        own = [name for name in given if name in pool.kes]
        assert set(given) > set(pool.kes)
        view = await ask(state, "GET", "/v1/status")
        backends = {each["name"]: each for each in view["backends"]}
        ke, shared = backends["ntp-8"], backends["ntp-1"]
        assert (ke["cookies"], ke["key_group"], ke["minting"], ke["state"]) == ("fixed-key", "", None, "UP")
        assert ke["ke"] == f"{ke['addresses'][0]['address']}:{pool.kes['ntp-8'].port}"
        assert (shared["cookies"], shared["key_group"], shared["ke"]) == ("ntspool", "ntp-1", "")
        assert {each["aead"]: each["state"] for each in ke["addresses"][0]["aeads"]} == {
            "AES-SIV-CMAC-256": "UP",
            "AES-SIV-CMAC-512": "UP",
        }
        # Nothing of a rotation is up to them.
        keys = await ask(state, "GET", "/v1/keys")
        assert {each["backend"] for each in keys["backends"]} == {"ntp-1", "ntp-2"}

        async def answered():
            told = (await ask(state, "GET", "/v1/status"))["upstreams"]
            return sum(each["answered"] for each in told["backends"]) == len(own) == told["answers"]["count"]

        while not await answered():
            await asyncio.sleep(0.1)
        page = await run_command(tmp_path, "backend", "show", "ntp-8")
        assert f"fixed-key, made by its own key exchange at {ke['ke']}" in page
        assert "ntp-9" in await run_command(tmp_path, "backends")
        for name in pool.kes:
            await ask(state, "POST", f"/v1/backends/{name}/drain")
        assert pool.given(await pool.session(OWN)) not in pool.kes
        await ask(state, "POST", "/v1/backends/ntp-9/ready")
        assert pool.given(await pool.session(OWN)) == "ntp-9"
        [probed] = await asyncio.to_thread(call_list, state / "admin.sock", "POST", "/v1/backends/ntp-9/probe")
        assert (probed["good"], probed["epochs"]) == (True, [])

    play(tmp_path, pki, scene)


def test_slots_and_denials_work_across_both_kinds(tmp_path, pki):
    async def scene(pool, _state):
        slots = [pool.given(await pool.session(f"{slot}.{ALL}")) for slot in range(4)]
        assert sorted(slots) == sorted(pool.times)
        held = tuple(time.addresses[0][0] for name, time in pool.times.items() if name != "ntp-8")
        for _ in range(3):
            request = Request((0,), (15,), denied=held)
            reply = (await exchange_keys(Server("127.0.0.1", pool.port, ALL, pool.ca), request, PATIENCE)).reply
            assert (reply.server, reply.port) == pool.times["ntp-8"].addresses[0]

    play(tmp_path, pki, scene)


def test_workers_go_on_without_their_control_process(tmp_path, pki):
    async def scene(pool, state):
        os.kill(_parent(next(iter(workers_of(state)))), signal.SIGKILL)
        await until(lambda: pool.log("the control process is gone; serving what it said last until there is another"))
        for ke in pool.kes.values():
            ke.hang_up()
        given = set()
        while given < set(pool.kes):
            exchange = await pool.session(OWN)
            assert isinstance(exchange.reply, Response)
            given.add(pool.given(exchange))

    play(tmp_path, pki, scene)


def test_another_token_is_taken_over_by_a_reload(tmp_path, pki):
    async def scene(pool, state):
        for ke in pool.kes.values():
            ke.token = Secret(ke.token.reveal()[::-1])
            _ = ke.token_file
        await ask(state, "POST", "/v1/reload")
        assert {pool.given(await pool.session(OWN)) for _ in range(20)} <= set(pool.times)
        await until(lambda: pool.up() == set(pool.times))
        while pool.given(await pool.session(OWN)) not in pool.kes:
            pass

    play(tmp_path, pki, scene)
