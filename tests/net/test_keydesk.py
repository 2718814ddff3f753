"""The desk: what is laid out is got at once, and who waits is woken."""

import asyncio

import pytest

from ntspool.net.keydesk import AgentReport, KeyDesk
from tests.net.controlport import delivery


def test_what_is_new_to_the_agent_is_got_at_once():
    async def scene():
        desk = KeyDesk()
        desk.publish({"a": delivery("1")})
        return await desk.wait("a", None, 5), await desk.wait("a", "0", 5), await desk.wait("a", "1", 0.01)

    assert asyncio.run(scene()) == (delivery("1"), delivery("1"), None)


def test_who_waits_is_woken_by_what_is_new_to_it_and_by_nothing_else():
    async def scene():
        desk = KeyDesk()
        waiting = asyncio.create_task(desk.wait("a", "1", 20))
        for published in ({}, {"a": delivery("1")}, {"a": delivery("1"), "b": delivery("2")}):
            await asyncio.sleep(0)
            desk.publish(published)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        desk.publish({"a": delivery("2")})
        return await waiting

    assert asyncio.run(scene()) == delivery("2")


def test_a_backend_that_was_taken_away_gets_nothing():
    async def scene():
        desk = KeyDesk()
        desk.publish({"a": delivery("1")})
        desk.publish({})
        return await desk.wait("a", None, 0.01)

    assert asyncio.run(scene()) is None


def test_cancelling_who_waits_cancels_it():
    async def scene():
        waiting = asyncio.create_task(KeyDesk().wait("a", None, 20))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(scene())


def test_the_last_report_and_the_last_sight_are_kept():
    desk = KeyDesk()
    desk.record("a", AgentReport(1.0, "1", (), "no"))
    desk.record("a", AgentReport(2.0, "1", (1, 2), None))
    desk.see("a", 3.0)
    assert desk.reports == {"a": AgentReport(2.0, "1", (1, 2), None)}
    assert desk.seen == {"a": 3.0}


def test_no_secret_is_shown():
    shown = repr(delivery(fill=0x5A))
    assert "ZZZZ" not in shown
    assert "5a5a" not in shown


def test_agents_that_have_keys_keep_them_while_others_may_know_newer_ones():
    stale = [True]

    async def scene():
        desk = KeyDesk(holds_back=lambda after: stale[0] and after is not None)
        desk.publish({"a": delivery("2")})
        assert await desk.wait("a", None, 5) == delivery("2")
        waiting = asyncio.create_task(desk.wait("a", "1", 20))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        stale[0] = False
        desk.publish({"a": delivery("2")})
        return await waiting

    assert asyncio.run(scene()) == delivery("2")
