"""A clock that is stepped by an hour, forward and back, under a gateway: libfaketime tells it another time."""

import asyncio
import time
from pathlib import Path

import pytest

from ntspool.net.agentclient import Gateway, enrol
from ntspool.wire.secret import Secret
from tests.app.breakable import site

HOUR = 3600
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


@pytest.mark.skipif(not LIBRARIES, reason="libfaketime is not installed (Debian's package faketime)")
def test_a_gateways_clock_is_stepped_by_an_hour(tmp_path, pki):
    """No cookie loses its key, nobody goes DOWN, sessions and their deadlines go on; tokens are judged by the clock."""
    shift = tmp_path / "shift"
    shift.write_text("+0\n")

    async def step(place, seconds):
        shift.write_text(f"{seconds:+d}\n")

        async def seen():
            told = (await place.ask("GET", "/v1/status"))["now"]
            return abs(told - time.time() - seconds) < 60

        await place.until_told(seen)

    async def scene():
        async with site(tmp_path, pki, interval="200ms", timeout="190ms") as place:
            around, config = place.around, place.around.config
            config.write_text(config.read_text().replace("rotate: off", "rotate: off, life: 30m"))
            place.env = {
                "LD_PRELOAD": str(LIBRARIES[0]),
                "FAKETIME_TIMESTAMP_FILE": str(shift),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
            for name in around.names:
                await place.serve_time(name)
            await place.start()
            for _ in range(2):
                await place.ask("POST", "/v1/keys/rotate")
            around.give_keys()

            async def moved_on():
                return set((await place.minting()).values()) == {5} and len(await place.minting()) == 2

            await place.until_told(moved_on)
            downs = len(place.log("gateway", "backend DOWN"))
            _, token = await place.ntspool("backend", "enroll", "ntp-1")
            async with place.steady():
                for seconds in (HOUR, 0, -HOUR, 0):
                    await step(place, seconds)
                    await place.refused("cookies of epoch 3 may be in use for another 1[78]", "POST", "/v1/keys/rotate")
                    await place.ask("POST", "/v1/reload")
                    assert await place.minting() == {"ntp-1": 5, "ntp-2": 5}
                    proved = [each["proved"] for each in (await place.ask("GET", "/v1/keys"))["backends"]]
                    now = (await place.ask("GET", "/v1/status"))["now"]
                    assert all(0 <= now - since < HOUR for each in proved for since in each.values())
            assert len(place.log("gateway", "backend DOWN")) == downs
            await enrol([Gateway("127.0.0.1", place.control)], Secret(token.strip().encode()), tmp_path / "agent")
            place.check_that_nothing_broke()

    asyncio.run(scene())
