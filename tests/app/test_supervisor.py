"""One worker's keeper, with processes that misbehave in the worker's place."""

import asyncio
import re
import sys
from collections import Counter
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from ntspool.app import supervisor as supervisor_module
from ntspool.app.supervisor import Supervisor
from ntspool.pool.model import LogSettings, SessionRules, Snapshot
from tests.waiting import until

SNAPSHOT = Snapshot(1, (), SessionRules(5.0, 100), LogSettings(), ())

_TALKER = """
import asyncio, signal, socket, sys
from collections import Counter
from ntspool.net.channel import Applied, Channel, Tally
from ntspool.pool.counts import SessionCounts
async def run():
    channel = await Channel.open(socket.socket(fileno=int(sys.argv[1])))
    snapshot = await channel.receive()
    {before}
    await channel.send(Applied(snapshot.revision))
    {after}
    await asyncio.sleep(3600)
asyncio.run(run())
"""


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(supervisor_module, "FIRST_BACK_OFF", 0.01)
    monkeypatch.setattr(supervisor_module, "LONGEST_BACK_OFF", 0.04)


def talker(before="", after=""):
    return [sys.executable, "-c", _TALKER.format(before=before, after=after)]


def _play(command, scene, count=lambda tally: None, wanted_now=lambda _: False):
    """Run `scene(supervisor, logs)` while one keeps `command` running; return what was logged."""
    started = []

    async def spawn(channel):
        if callable(command):
            command()
        end = channel.fileno()
        started.append(await asyncio.create_subprocess_exec(*command, str(end), pass_fds=[end]))
        return started[-1]

    async def run():
        supervisor = Supervisor(7, spawn, SNAPSHOT, count, wanted_now)
        try:
            await scene(supervisor, logs)
        finally:
            await supervisor.finish(20)
        assert supervisor.pid is None
        assert all(process.returncode is not None for process in started)

    with capture_logs() as logs:
        asyncio.run(run())
    return logs


def test_one_that_dies_at_once_again_and_again_is_replaced_ever_more_slowly_and_loudly():
    async def scene(_, logs):
        await until(lambda: len(logs) >= 4)

    logs = _play(["/bin/false"], scene)
    assert [(each["log_level"], each["event"], each["worker"]) for each in logs[:4]] == [
        ("error", "worker died", 7)
    ] * 4
    assert [each["deaths"] for each in logs[:4]] == [1, 2, 3, 4]
    assert [each["replaced_in"] for each in logs[:4]] == [0.01, 0.02, 0.04, 0.04]
    assert all(each["reason"].endswith(", status 1") for each in logs)


def test_the_signal_that_killed_one_is_told_by_its_name():
    async def scene(_, logs):
        await until(lambda: logs)

    [first, *_] = _play(talker(before="import os; os.kill(os.getpid(), signal.SIGKILL)"), scene)
    assert re.fullmatch(r"pid \d+, signal 9 \(SIGKILL\)", first["reason"])


@pytest.mark.parametrize("number", [-64, -200])
def test_a_signal_without_a_name_is_told_by_its_number(number):
    assert supervisor_module._ending(number).startswith(f"signal {-number}")


def test_one_that_died_often_is_replaced_at_once_while_no_other_serves(monkeypatch):
    monkeypatch.setattr(supervisor_module, "LONGEST_BACK_OFF", 3600)
    wanted = []

    async def scene(_, logs):
        await until(lambda: logs and logs[-1]["replaced_in"] > 0.3)
        # By itself, it would be in 0.6 s, 1.3 s and so on, an hour in the end.
        wanted.append(True)
        await until(lambda: logs[-1]["replaced_in"] == 3600)

    logs = _play(["/bin/false"], scene, wanted_now=lambda _: bool(wanted))
    assert logs[-1]["deaths"] >= 18


def test_one_that_cannot_be_started_is_tried_again():
    def refuse():
        raise FileNotFoundError(2, "No such file or directory")

    async def scene(_, logs):
        await until(lambda: len(logs) >= 2)

    logs = _play(refuse, scene)
    assert {each["reason"] for each in logs} == {"not started: No such file or directory"}


def test_one_that_lived_long_is_replaced_as_if_it_were_the_first(monkeypatch):
    monkeypatch.setattr(supervisor_module, "_OLD_ENOUGH", 0)

    async def scene(_, logs):
        await until(lambda: len(logs) >= 3)

    logs = _play(["/bin/false"], scene)
    assert {(each["deaths"], each["replaced_in"]) for each in logs} == {(1, 0.01)}


def test_while_it_is_to_be_replaced_it_can_be_told_to_finish_and_publications_do_not_wait(monkeypatch):
    monkeypatch.setattr(supervisor_module, "FIRST_BACK_OFF", 3600)

    async def scene(supervisor, logs):
        await until(lambda: logs)
        await supervisor.caught_up(5)

    assert len(_play(["/bin/false"], scene)) == 1


def test_what_a_dead_worker_told_stays():
    minted = Counter({3: 1})

    async def scene(supervisor, _):
        await until(lambda: minted[3] >= 10)

    tells_and_dies = talker(
        after="await channel.send(Tally(SessionCounts(minted=Counter({3: 5})), {}, 0)); sys.exit(1)"
    )
    _play(tells_and_dies, scene, lambda tally: minted.update(tally.sessions.minted))
    assert minted[3] % 5 == 1


def test_one_that_does_not_finish_is_killed():
    async def scene(supervisor, _):
        await supervisor.serving()
        await supervisor.finish(0.05)

    [entry] = _play(talker(before="signal.signal(signal.SIGTERM, signal.SIG_IGN)"), scene)
    assert (entry["event"], entry["worker"]) == ("worker killed", 7)


def test_one_that_finishes_is_not_waited_for_when_something_is_published():
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    talkative = "while True: await channel.send(Applied(1)); await asyncio.sleep(0.01)"

    async def scene(supervisor, _):
        await supervisor.serving()
        finishing = asyncio.create_task(supervisor.finish(4))
        await asyncio.sleep(0.1)
        async with asyncio.timeout(3.5):
            await supervisor.caught_up(99)
        await finishing

    _play(talker(before=deaf, after=talkative), scene)


def test_without_descriptors_it_is_tried_again(monkeypatch):
    def none_left():
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(supervisor_module, "socket", SimpleNamespace(socketpair=none_left))

    async def scene(_, logs):
        await until(lambda: len(logs) >= 2)
        monkeypatch.undo()

    logs = _play(["/bin/false"], scene)
    assert logs[0]["reason"] == "not started: Too many open files"
