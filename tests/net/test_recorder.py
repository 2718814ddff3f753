"""ntspool/net/recorder.py: nobody waits for the disk, and nothing but history is lost to it."""

import asyncio
import json
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ntspool.net import recorder
from ntspool.net.historyreader import HistoryReader
from ntspool.net.recorder import Recorder
from tests.interop.lab import find
from tests.net.test_history import BOUNDS, DAY, START, event, seen


def words(log):
    return [each["event"] for each in log]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "history.db"


def count(path):
    with closing(HistoryReader(path)) as reader:
        return reader.count(0, 1e11), len(reader.events(0, 1e11))


def play(path, scene, bounds=BOUNDS, clock=lambda: START):
    async def run():
        made = Recorder(path, bounds, clock)
        try:
            await scene(made)
        finally:
            await made.stop()
        return made

    return asyncio.run(run())


def test_what_waits_at_the_end_is_written(path):
    async def scene(made):
        made.start()
        made.probe(seen(START))
        made.event(event(START))

    made = play(path, scene)
    assert count(path) == (1, 1)
    assert (made.view.written, made.view.lost, made.view.failing) == (2, 0, False)
    assert made.view.size > 4096


def test_it_writes_by_and_by(path, monkeypatch):
    monkeypatch.setattr(recorder, "WRITE_INTERVAL", 0.01)

    async def scene(made):
        made.start()
        made.probe(seen(START))
        async with asyncio.timeout(10):
            while made.view.written < 1:
                await asyncio.sleep(0.01)
        assert count(path) == (1, 0)

    play(path, scene)


def test_old_probes_are_tidied_up(path):
    async def scene(made):
        made.probe(seen(START - 8 * DAY))
        await made.write()

    play(path, scene)
    assert count(path) == (0, 0)
    with closing(HistoryReader(path)) as reader:
        assert reader.since() < START - 7 * DAY


def test_a_disk_that_refuses_is_told_of_once_and_what_waited_is_written_later(path):
    path.mkdir()  # SQLite cannot open that
    with capture_logs() as log:

        async def scene(made):
            for number in range(3):
                made.probe(seen(START + number))
                await made.write()
            assert made.view.failing
            path.rmdir()
            made.probe(seen(START + 3))
            await made.write()
            assert not made.view.failing

        made = play(path, scene)
    assert words(log) == ["history cannot be written", "history is written again"]
    assert log[0]["log_level"] == "error"
    assert count(path) == (4, 0)
    assert (made.view.written, made.view.lost) == (4, 0)


def test_a_damaged_database_ends_nothing(path):
    async def scene(made):
        made._tidied = START
        made.probe(seen(START - 30 * DAY))
        await made.write()
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("UPDATE probe SET target = 99")
        made._tidied = float("-inf")
        made.probe(seen(START))
        await made.write()
        assert made.view.failing
        made.start()

    assert play(path, scene).view.written == 2


def test_what_does_not_fit_into_memory_is_counted(path, monkeypatch):
    monkeypatch.setattr(recorder, "MOST_WAITING", 10)
    path.mkdir()
    with capture_logs() as log:

        async def scene(made):
            for number in range(15):
                made.probe(seen(START + number))
            await made.write()
            made.event(event(START))
            assert made.view.lost == 6
            path.rmdir()

        play(path, scene)
    assert words(log) == ["history cannot be written", "history is written again"]
    assert log[1]["lost"] == 6
    assert count(path) == (10, 0)


def test_a_disk_that_hangs_holds_up_nobody(path, monkeypatch):
    hanging = threading.Event()

    async def scene(made):
        monkeypatch.setattr(made._writer, "write", lambda *_: hanging.wait(20))
        made.probe(seen(START))
        writing = asyncio.create_task(made.write())
        for number in range(100):
            made.probe(seen(START + number))
            await asyncio.sleep(0)
        assert not writing.done()
        hanging.set()
        await writing

    play(path, scene)


def test_nothing_is_kept_when_nothing_is_to_be_kept(path):
    async def scene(made):
        made.probe(seen(START))
        made.event(event(START))
        await made.write()

    made = play(path, scene, bounds=BOUNDS.__class__(None, DAY, 2**30))
    assert not path.exists()
    assert made.view.lost == 0


_FULL = """
import asyncio, json, os, sys
from pathlib import Path
from ntspool.net.recorder import Recorder
from tests.interop.lab import find
from tests.net.test_history import BOUNDS, START, seen

async def run():
    folder = Path(sys.argv[1])
    made = Recorder(folder / "history.db", BOUNDS, lambda: START)
    number = 0
    while not made.view.failing:
        for _ in range(500):
            number += 1
            made.probe(seen(START + number / 10))
        await made.write()
    (folder / "ballast").unlink()
    await made.write()
    recovered = not made.view.failing
    await made.stop()
    print(json.dumps([recovered, number, made.view.written, made.view.lost]))

asyncio.run(run())
"""


def test_a_disk_that_is_full_costs_nothing_once_there_is_room_again(tmp_path):
    script = 'mount -t tmpfs -o size=2m tmpfs "$1" && head -c 1m /dev/zero >"$1/ballast" && exec "$2" -c "$3" "$1"'
    words = [find("unshare"), "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    command = [*words, str(tmp_path), sys.executable, _FULL]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    if "permission denied" in ended.stderr.lower() or "not permitted" in ended.stderr.lower():
        pytest.skip(f"this machine grants no mount namespace: {ended.stderr.strip()}")
    assert ended.returncode == 0, ended.stderr
    recovered, number, written, lost = json.loads(ended.stdout.splitlines()[-1])
    assert recovered
    assert (written, lost) == (number, 0)
    assert "database or disk is full" in ended.stdout + ended.stderr
