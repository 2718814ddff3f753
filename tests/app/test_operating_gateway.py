"""The commands that show and operate, against a gateway that serves."""

import asyncio
import csv
import io
import json
import signal
import subprocess
import sys

import pytest

from ntspool.app.gateway import Gateway
from tests.app.pool import lay_out, run_ntspool
from tests.waiting import DEADLINE, until


@pytest.fixture
def around(tmp_path, pki):
    return lay_out(tmp_path, pki)


def _play(around, scene):
    """Run `scene(gateway, time_servers, ask)` with a gateway that serves; `ask` runs a command of ntspool on it."""

    def ask(*words):
        return asyncio.to_thread(run_ntspool, *words, "--config", around.config)

    async def run():
        async with around.time_servers() as servers:
            gateway = Gateway(around.config)
            try:
                await gateway.start()
                return await scene(gateway, servers, ask)
            finally:
                await gateway.stop()

    return asyncio.run(run())


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("backends", "-n"),
        ("backend", "show", "ntp-1"),
        ("sessions",),
        ("agents",),
        ("events",),
        ("probe", "ntp-2"),
    ],
)
def test_every_view_in_every_form(around, words):
    async def scene(_, __, ask):
        await around.session()
        return [await ask(*words, *form) for form in ((), ("--csv",), ("--json",))]

    text, table, answer = _play(around, scene)
    assert [(each.returncode, each.stderr) for each in (text, table, answer)] == [(0, "")] * 3
    assert text.stdout.count("\n") > 1 or words == ("events",)
    rows = list(csv.reader(io.StringIO(table.stdout)))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert json.loads(answer.stdout) is not None


def test_an_operators_round(around):
    async def scene(gateway, servers, ask):
        steps = [await ask("backend", "drain", "ntp-1")]
        replies = [await around.session() for _ in range(6)]
        assert {reply.server for reply in replies} == {around.address("ntp-2")}
        steps += [await ask("backend", "ready", "ntp-1"), await ask("backend", "weight", "ntp-1", "20")]
        steps += [await ask("backend", "weight", "ntp-1", "declared"), await ask("backend", "maint", "ntp-2")]
        await servers["ntp-1"].stop()
        await until(lambda: gateway.view().backends[0].state == "DOWN")
        return [*steps, await ask("backends"), await ask("status"), await ask("probe", "ntp-1"), await ask("events")]

    around.configure(panic=100)
    *steps, table, page, probe, events = _play(around, scene)
    assert [(each.returncode, each.stdout) for each in steps] == [
        (0, "ntp-1: DRAIN, weight 10 (drain until `ntspool backend ready`)\n"),
        (0, "ntp-1: UP, weight 10\n"),
        (0, "ntp-1: UP, weight 20/10\n"),
        (0, "ntp-1: UP, weight 10\n"),
        (0, "ntp-2: MAINT, weight 10 (maint until `ntspool backend ready`)\n"),
    ]
    assert [line.split()[:3] for line in table.stdout.splitlines()[2:]] == [
        ["ntp-1", "DOWN", "v4"],
        ["ntp-2", "MAINT", "v4"],
    ]
    assert "NOT ready" in page.stdout
    assert "Problem         : ntp-1 DOWN for " in page.stdout
    assert (probe.returncode, "NOT good" in probe.stdout) == (1, True)
    assert "ready -> drain" in events.stdout
    assert "backend DOWN" in events.stdout


def test_a_misspelt_backend_is_none_and_exits_1(around):
    async def scene(_, __, ask):
        return [await ask(*words) for words in (("backend", "drain", "ntp1"), ("probe", "x"), ("backend", "show", "x"))]

    misspelt, *strange = _play(around, scene)
    assert misspelt.returncode == 1
    assert misspelt.stderr == "ntspool: there is no backend 'ntp1'; did you mean ntp-1 or ntp-2?\n"
    for each in strange:
        assert (each.returncode, each.stderr) == (1, "ntspool: there is no backend 'x'; there are ntp-1, ntp-2\n")


def test_a_gateway_that_starts_later_is_waited_for_and_followed_until_it_is_gone(around):
    command = [sys.executable, "-m", "ntspool"]
    config = ("--config", str(around.config))
    processes = []

    def start(*words):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen([*command, *words, *config], **pipes))
        return processes[-1]

    async def run():
        waiting = start("wait", "ready", "--timeout", str(DEADLINE))
        async with around.time_servers():
            serving = start("serve")
            out, err = await asyncio.to_thread(waiting.communicate, timeout=DEADLINE)
            assert (waiting.returncode, out, err) == (0, "", "")
            following = start("events", "--follow", "--json")
            first = json.loads(await asyncio.to_thread(following.stdout.readline))
            run_ntspool("backend", "drain", "ntp-1", *config)
            lines = [first]
            while lines[-1]["event"] != "admin state":
                lines.append(json.loads(await asyncio.to_thread(following.stdout.readline)))
            stopped = start("events", "--follow")
            await asyncio.to_thread(stopped.stdout.readline)
            stopped.send_signal(signal.SIGINT)
            _, err = await asyncio.to_thread(stopped.communicate, timeout=DEADLINE)
            assert (stopped.returncode, err) == (0, "")
            serving.send_signal(signal.SIGTERM)
            await asyncio.to_thread(serving.communicate, timeout=DEADLINE)
            _, err = await asyncio.to_thread(following.communicate, timeout=DEADLINE)
            assert following.returncode == 3
            assert err.startswith("ntspool: the gateway is gone: no gateway answers at ")
            return lines

    try:
        lines = asyncio.run(run())
    finally:
        for each in processes:
            each.kill()
            each.communicate()
    assert [each["number"] for each in lines] == sorted({each["number"] for each in lines})
    assert (lines[-1]["subject"], lines[-1]["before"], lines[-1]["after"]) == ("ntp-1", "ready", "drain")
