"""The history on disk: ntspool/net/historyschema.py, historywriter.py, historyreader.py."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ntspool.errors import StateError
from ntspool.net import historywriter
from ntspool.net.historyreader import HistoryReader, remembered
from ntspool.net.historyschema import SCHEMA
from ntspool.net.historywriter import Bounds, HistoryWriter
from ntspool.pool.observation import Measured, Observation, Where
from ntspool.pool.tally import Source, Tally
from ntspool.pool.view import EventView

HOUR, DAY = 3600.0, 86400.0
START = 1_800_000_000.0 - 1_800_000_000.0 % HOUR
NTP_1, NTP_2 = Where("ntp-1", "192.0.2.1", 123), Where("ntp-2", "2001:db8::2", 4123)
BOUNDS = Bounds(400 * DAY, 7 * DAY, 2 * 1024**3)


def seen(time, where=NTP_1, **more):
    measured = Measured(0.000012, -0.000003, 0.0021, 0.0042, 2, 0, "192.0.2.99")
    told = {"good": True, "cause": "", "was_up": True, "held": 16.0, "measured": measured}
    return Observation(where, time, **{**told, **more})


def missed(time, where=NTP_1, **more):
    return seen(time, where, **{"good": False, "cause": "no answer", "measured": None, **more})


def event(time, name="backend DOWN", subject="ntp-1 192.0.2.1"):
    return EventView(7, time, name, "warning", subject, "no answer", "UP", "DOWN")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "history.db"


@pytest.fixture
def writer(path):
    writer = HistoryWriter(path)
    yield writer
    writer.close()


def read(path):
    return closing(HistoryReader(path))


def test_what_is_written_is_read_again_while_it_is_open_for_writing(writer, path):
    probes = [
        seen(START + 1),
        missed(START + 1, NTP_2),
        seen(START + 17.5, measured=seen(0).measured.__class__(-1.5, None, 0.25, 0.5, 1, 1, "GPS")),
    ]
    writer.write(probes, [event(START + 2)])
    with read(path) as reader:
        assert sorted(reader.probes(START, START + 60), key=lambda each: (each.time, each.where)) == probes
        assert list(reader.probes(START + 2, START + 60)) == probes[2:]
        assert reader.count(START, START + 17) == 2
        (told,) = reader.events(START, START + 3)
        assert (told.time, told.event, told.subject) == (START + 2, "backend DOWN", "ntp-1 192.0.2.1")
        assert reader.events(START + 3, START + 60) == []
        assert (reader.since(), reader.first_probe()) == (START + 1, START + 1)
    writer.close()
    with read(path) as reader:
        assert reader.count(START, START + 60) == 3


def test_it_is_for_its_owner_alone(writer, path):
    before = os.umask(0)
    try:
        writer.write([seen(START)], [])
    finally:
        os.umask(before)
    files = list(path.parent.glob("history.db*"))
    assert {each.name for each in files} == {"history.db", "history.db-wal", "history.db-shm"}
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}


def test_old_probes_become_hours_that_count_the_same(writer, path):
    probes = [
        seen(START + 16 * each, measured=Measured(each * 1e-6, None, 0.001, 0.002, 2, 0, "192.0.2.99"))
        for each in range(225)
    ]
    probes += [missed(START + 16 * each + 1, NTP_2, was_up=each < 100) for each in range(225)]
    late = [seen(START + HOUR), missed(START + HOUR + 1, NTP_2)]
    writer.write([*probes, *late], [])
    writer.tidy(START + 7 * DAY + HOUR, BOUNDS)
    with read(path) as reader:
        assert [each.time for each in reader.probes(0, 1e11)] == [START + HOUR, START + HOUR + 1]
        (first, one, hour), (second, two, silent) = reader.hours(START, START + HOUR)
        assert list(reader.hours(START + 1, START + 2 * HOUR)) == []
        assert list(reader.hours(START, START + HOUR - 1)) == []
        assert (reader.since(), reader.first_probe()) == (START, START + HOUR)
    assert (first, second, one, two) == (START, START, NTP_1, NTP_2)
    tally = Tally()
    tally.absorb(hour)
    assert (tally.probes, tally.good, tally.observed, tally.up) == (225, 225, 3600, 3600)
    assert tally.sources == {Source(2, 0, "192.0.2.99"): 225}
    assert tally.offset.quantile(0.5) == pytest.approx(112e-6, rel=0.05)
    assert (silent.good, silent.up, silent.causes, silent.offset) == (0, 1600, (("no answer", 225),), b"")


@pytest.mark.parametrize(
    ("column", "value"),
    [("causes", "[["), ("causes", '[["x", 1e999]]'), ("causes", "[" * 100_000), ("sources", "[[7, 1]]"), ("offset", 7)],
)
def test_an_hour_that_is_damaged_is_told(writer, path, column, value):
    writer.write([seen(START)], [])
    writer.tidy(START + 30 * DAY, BOUNDS)
    with closing(sqlite3.connect(path)) as database:
        database.execute(f'UPDATE hour SET "{column}" = ?', (value,))
        database.commit()
    with read(path) as reader, pytest.raises(StateError, match="cannot be read: a damaged hour"):
        list(reader.hours(START, START + HOUR))


def test_what_comes_late_for_an_hour_is_counted_with_it(writer, path):
    writer.write([seen(START)], [])
    writer.tidy(START + 8 * DAY, BOUNDS)
    writer.write([seen(START + 16)], [])
    writer.tidy(START + 8 * DAY, BOUNDS)
    with read(path) as reader:
        ((_, _, hour),) = reader.hours(START, START + HOUR)
        assert reader.count(0, 1e11) == 0
    assert hour.probes == 2


def test_a_server_that_names_ever_new_references_fills_no_memory(writer, path, monkeypatch):
    monkeypatch.setattr(historywriter, "_MOST_KNOWN", 10)
    named = [replace(seen(0).measured, reference=f"192.0.2.{number}") for number in range(50)]
    probes = [seen(START + number, measured=each) for number, each in enumerate(named)]
    writer.write(probes, [])
    assert len(writer._known) <= 10
    with read(path) as reader:
        assert list(reader.probes(0, 1e11)) == probes


def test_what_is_too_old_is_forgotten(writer, path):
    writer.write([seen(START), seen(START + DAY)], [event(START), event(START + DAY)])
    writer.tidy(START + 8 * DAY, BOUNDS)
    writer.tidy(START + 400 * DAY + 2 * HOUR, BOUNDS)
    with read(path) as reader:
        assert reader.since() == START + DAY
        assert [each.time for each in reader.events(0, 1e11)] == [START + DAY]


def test_beyond_its_size_the_oldest_goes_first(writer, path):
    for hour in range(48):
        writer.write([seen(START + hour * HOUR + each / 10) for each in range(1000)], [event(START + hour * HOUR)])
    whole, now = writer.size(), START + 48 * HOUR
    small = Bounds(BOUNDS.keep, BOUNDS.probes, whole // 2)
    while writer.tidy(now, small):  # not all at once
        pass
    assert writer.size() <= whole // 2
    with read(path) as reader:
        # Singly no more, but all of it is still counted.
        assert reader.first_probe() > START + 20 * HOUR
        assert sum(hour.probes for _, _, hour in reader.hours(0, 1e11)) + reader.count(0, 1e11) == 48000
    while writer.tidy(now, Bounds(BOUNDS.keep, BOUNDS.probes, 1)):
        pass
    with read(path) as reader:
        assert reader.since() is None
        assert reader.events(0, 1e11) == []


def test_a_newer_database_is_refused_in_words(writer, path):
    writer.write([seen(START)], [])
    writer.close()
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    for attempt in (lambda: writer.write([], []), lambda: HistoryReader(path)):
        with pytest.raises(StateError, match=r"history.db is of a newer ntspool \(schema 2, this one knows 1\)"):
            attempt()


def test_what_cannot_be_read_is_told_in_words(path, tmp_path):
    with pytest.raises(StateError, match="there is no history at"):
        HistoryReader(path)
    path.parent.mkdir()
    path.touch()
    with pytest.raises(StateError, match="has no tables yet"):
        HistoryReader(path)
    path.write_bytes(os.urandom(8192))
    with pytest.raises(StateError, match="cannot be read: file is not a database"):
        HistoryReader(path)


def test_a_write_that_fails_leaves_nothing_half_done_and_can_be_tried_again(writer, path):
    writer.write([seen(START)], [])
    wrong = seen(START + 16, held=float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        writer.write([seen(START + 16, NTP_2), wrong], [event(START)])
    writer.write([seen(START + 16, NTP_2)], [event(START)])
    with read(path) as reader:
        assert [each.where for each in reader.probes(0, 1e11)] == [NTP_1, NTP_2]
        assert len(reader.events(0, 1e11)) == 1


def test_a_reader_sees_one_picture_whatever_is_tidied_up_meanwhile(writer, path):
    writer.write([seen(START + 16 * each) for each in range(300)], [])
    with read(path) as reader:
        assert reader.since() == START
        writer.tidy(START + 8 * DAY, BOUNDS)
        hours = sum(hour.probes for _, _, hour in reader.hours(0, 1e11))
        assert hours + len(list(reader.probes(0, 1e11))) == 300
        assert hours == 0
    with read(path) as reader:
        assert sum(hour.probes for _, _, hour in reader.hours(0, 1e11)) == 300


def test_the_status_page_remembers_the_last_hours(writer, path):
    writer.write([seen(START), seen(START + 5 * HOUR), seen(START + 7 * HOUR)], [])
    points = remembered(path, START + 8 * HOUR).points(*NTP_1)
    assert [each.time for each in points] == [START + 5 * HOUR, START + 7 * HOUR]
    assert {each.offset for each in points} == {-0.000003}


_ENDLESS = """
import sys
from pathlib import Path
from ntspool.net.historywriter import HistoryWriter
from tests.net.test_history import seen, START
writer = HistoryWriter(Path(sys.argv[1]))
for number in range(10**6):
    writer.write([seen(START + number)], [])
    print(number, flush=True)
"""


def test_what_a_killed_process_has_written_is_there(path):
    words = [sys.executable, "-c", _ENDLESS, str(path)]
    top = Path(__file__).parents[2]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=top) as process:
        for line in process.stdout:
            if int(line) >= 50:
                process.send_signal(signal.SIGKILL)
                break
        last = max([50, *(int(each) for each in process.stdout.read().split())])
    with read(path) as reader:
        assert reader.count(0, 1e11) in (last + 1, last + 2)
        assert len(list(reader.probes(0, 1e11))) >= last + 1
