"""The event log on disk and for those who wait."""

import asyncio
import json
from dataclasses import asdict

import pytest
from structlog.testing import capture_logs

from ntspool.errors import StateError
from ntspool.net import eventlog as eventlog_module
from ntspool.net.eventlog import ENTRY, KEPT, EventLog
from ntspool.net.store import FileStore
from ntspool.pool.view import EventView
from tests.waiting import until


@pytest.fixture
def store(tmp_path):
    return FileStore(tmp_path / "state")


def _say(events, number):
    events.record(None, "info", {"event": "panic", "level": "error", "family": f"{number}", "state": "on"})


def _subjects(events):
    return [(each.number, each.subject) for each in events]


def test_events_are_numbered_kept_and_taken_up_again(store):
    async def run():
        first = EventLog(store, lambda: 5.0)
        first.recall()
        for number in range(3):
            _say(first, number)
        first.record(None, "info", {"event": "session", "level": "info"})
        first.close()
        second = EventLog(store)
        second.recall()
        _say(second, "again")
        second.close()
        return second.after(0), second.after(2)

    every, later = asyncio.run(run())
    assert _subjects(every) == [(1, "0"), (2, "1"), (3, "2"), (4, "again")]
    assert every[2:] == later
    assert every[0].time == 5.0


def test_a_listener_is_told_of_what_happens_and_not_of_what_is_taken_up(store):
    heard = []

    async def run():
        first = EventLog(store, lambda: 5.0, heard.append)
        _say(first, "new")
        first.record(None, "info", {"event": "session", "level": "info"})
        first.close()
        again = EventLog(store, lambda: 6.0, heard.append)
        again.recall()
        return again.after(0)

    assert asyncio.run(run()) == heard
    assert _subjects(heard) == [(1, "new")]


def test_the_oldest_go_and_numbers_go_on(store):
    async def run():
        events = EventLog(store)
        for number in range(KEPT + 10):
            _say(events, number)
        events.close()
        again = EventLog(store)
        again.recall()
        return events.after(0), again.after(0)

    kept, again = asyncio.run(run())
    assert kept == again
    assert [each.number for each in kept] == list(range(11, KEPT + 11))


def test_events_are_written_soon_and_many_at_once(store, monkeypatch):
    monkeypatch.setattr(eventlog_module, "SAVE_DELAY", 0.01)
    written = []
    put_if = store.put_if
    monkeypatch.setattr(store, "put_if", lambda *words: written.append(words) or put_if(*words))

    async def run():
        events = EventLog(store)
        for number in range(100):
            _say(events, number)
        async with asyncio.timeout(5):
            while not written:
                await asyncio.sleep(0.005)
        return len(store.get(ENTRY)[0].splitlines())

    assert asyncio.run(run()) == 100
    assert len(written) == 1


def test_who_waits_gets_the_next_and_none_after_that_time(store):
    async def run():
        events = EventLog(store)
        assert await events.wait(0, 0.0) == []
        _say(events, "one")
        assert _subjects(await events.wait(0, 50.0)) == [(1, "one")]
        waiting = [asyncio.create_task(events.wait(after, 50.0)) for after in (1, 1, 2)]
        await asyncio.sleep(0)
        _say(events, "two")
        both = [_subjects(await each) for each in waiting[:2]]
        _say(events, "three")
        last = _subjects(await waiting[2])
        events.close()
        return both, last

    assert asyncio.run(run()) == ([[(2, "two")], [(2, "two")]], [(3, "three")])


def test_nobody_waits_once_they_are_released(store):
    async def run():
        events = EventLog(store)
        waiting = asyncio.create_task(events.wait(0, 50.0))
        await asyncio.sleep(0)
        events.release()
        async with asyncio.timeout(5):
            return await waiting, await events.wait(0, 50.0)

    assert asyncio.run(run()) == ([], [])


@pytest.mark.parametrize(
    "odd",
    [
        *({"number": number} for number in (0, -3, "1", None, 1.5)),
        *({"time": "x"}, {"time": float("nan")}, {"time": 10**400}, {"event": 1}, {"after": None}),
    ],
)
def test_parts_that_cannot_be_are_damage(store, odd):
    kept = {**asdict(EventView(1, 1.0, "panic", "error", "", "", "", "")), **odd}
    store.put_if(ENTRY, json.dumps(kept).encode(), None)
    events = EventLog(store)
    with capture_logs() as logs:
        events.recall()
    assert [entry["event"] for entry in logs] == ["events of an earlier run lost"]
    assert events.after(0) == []


@pytest.mark.parametrize("data", [b"\xff", b"[]\n", b'{"number": 1}\n', b"null\n", b"[" * 50_000])
def test_what_is_damaged_is_told_and_begun_anew(store, data):
    store.put_if(ENTRY, data, None)

    async def run():
        events = EventLog(store)
        events.recall()
        _say(events, "new")
        events.close()
        return events.after(0)

    with capture_logs() as logs:
        kept = asyncio.run(run())
    assert [entry["event"] for entry in logs] == ["events of an earlier run lost"]
    assert _subjects(kept) == [(1, "new")]
    assert json.loads(store.get(ENTRY)[0])["number"] == 1


def test_after_the_end_nothing_is_kept(store):
    async def run():
        events = EventLog(store)
        events.close()
        return events

    events = asyncio.run(run())
    _say(events, "late")
    assert events.after(0) == []


def test_what_a_full_disk_did_not_take_is_written_once_there_is_room(store, monkeypatch):
    monkeypatch.setattr(eventlog_module, "SAVE_DELAY", 0.001)
    monkeypatch.setattr(eventlog_module, "SAVE_AGAIN", 0.001)
    put, refused = store.put_if, []

    def full(*_):
        refused.append(True)
        raise StateError("No space left on device")

    async def run():
        monkeypatch.setattr(store, "put_if", full)
        events = EventLog(store)
        _say(events, "one")
        await until(lambda: len(refused) > 2)
        monkeypatch.setattr(store, "put_if", put)
        await until(lambda: store.get(ENTRY))

    with capture_logs() as logs:
        asyncio.run(run())
    assert [entry["event"] for entry in logs] == ["events not kept for the next start", "events are kept again"]
