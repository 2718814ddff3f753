"""Slots, pins, groups and regions through a gateway that is a process of its own, and what its log says of them."""

import asyncio
import json
import signal
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ntspool.net.keyexchange import exchange_keys
from tests.app import pool
from tests.app.pool import REQUEST
from tests.net.mmdb import mmdb, place
from tests.waiting import until

NAMES = [
    "localhost",
    "one.test",
    "all.test",
    *(f"{slot}.{name}" for slot in range(3) for name in ("localhost", "all.test")),
]


@pytest.fixture
def around(tmp_path, pki):
    around = pool.lay_out(tmp_path, pki)
    (tmp_path / "own").mkdir()
    chain, key = pki.authority.issue(NAMES, ["127.0.0.1"], tmp_path / "own", datetime.now(UTC))
    around.write_certificate(chain.read_bytes(), key.read_bytes())
    return around


def logged(around, event):
    lines = [line for line in (around.directory / "log").read_text().splitlines() if line.startswith("{")]
    return [line for line in map(json.loads, lines) if line["event"] == event]


def play(around, scene):
    """Run `scene(gateway)` while a gateway serves, a process whose log is in the file `log`."""

    async def run():
        command = [sys.executable, "-m", "ntspool", "serve", f"--config={around.config}"]
        with (around.directory / "log").open("wb") as log:
            async with around.time_servers():
                gateway = await asyncio.create_subprocess_exec(*command, stderr=log)
                try:
                    await until(lambda: logged(around, "serving"))
                    await scene(gateway)
                finally:
                    gateway.terminate()
                    await gateway.wait()

    asyncio.run(asyncio.wait_for(run(), 60))


async def got(around, name, request=REQUEST):
    """Return the address that a client which asks for `name` gets."""
    return (await exchange_keys(replace(around.server, name=name), request, 5)).reply.server


def test_names_lead_to_backends(around):
    around.config.write_text(
        around.config.read_text() + "pins: {one.test: ntp-2}\ngroups: {all.test: [ntp-1, ntp-2]}\n"
    )
    one, two = around.address("ntp-1"), around.address("ntp-2")

    async def scene(_):
        assert {await got(around, "one.test") for _ in range(6)} == {two}
        assert {await got(around, f"{slot}.localhost") for slot in (0, 1)} == {one, two}
        assert await got(around, "0.localhost") == await got(around, "0.all.test") == await got(around, "2.all.test")
        assert {await got(around, "localhost", replace(REQUEST, denied=(one,))) for _ in range(6)} == {two}
        assert await got(around, "one.test", replace(REQUEST, denied=(two,))) == one
        assert await got(around, "localhost", replace(REQUEST, denied=(one, two))) in (one, two)

    play(around, scene)
    told = [
        {key: line[key] for key in ("pin", "group", "slot", "given_up") if key in line}
        for line in logged(around, "session")
    ]
    for why in (
        {"pin": "ntp-2"},
        {"slot": 1},
        {"group": "all.test", "slot": 2},
        {"pin": "ntp-2", "given_up": ["name"]},
        {"given_up": ["denial"]},
    ):
        assert why in told


def test_a_region_leads_to_its_backends_whatever_becomes_of_the_database(around):
    database = around.directory / "country.mmdb"
    database.write_bytes(mmdb({"127.0.0.0/8": place("DE", "EU")}))
    two = around.address("ntp-2")
    text = around.config.read_text().replace(f"address: {two}", f"address: {two}, region: [de]")
    around.config.write_text(text + "regions: {database: country.mmdb}\n")

    async def scene(gateway):
        assert {await got(around, "localhost") for _ in range(6)} == {two}
        database.write_bytes(b"broken")
        gateway.send_signal(signal.SIGHUP)
        await until(lambda: logged(around, "reload refused, the old configuration stays"))
        assert {await got(around, "localhost") for _ in range(6)} == {two}

    play(around, scene)
    assert {line.get("region") for line in logged(around, "session")} == {"de"}
