"""The checker tells an observer of every probe that counts, as of the clocks that an auditor believes."""

import asyncio
import time

import pytest

from ntspool.net.checker import Checker
from tests.net.scripted import scripted
from tests.net.test_checker import KEYRING, SELDOM, SETTINGS, Server, _backend
from tests.waiting import until

PROBED = 1_700_000_000.0


def watch(scene, settings=SETTINGS, **options):
    server, seen = Server(), []

    async def run(port):
        checker = Checker(KEYRING, settings, lambda: None, observer=seen.append, **options)
        backend = _backend(port)
        try:
            await checker.watch([backend])
            await scene(checker, backend, server, seen)
        finally:
            await checker.stop()

    with scripted(server) as port:
        asyncio.run(run(port))
    return seen


def test_offsets_are_against_the_systems_clock_whatever_the_steady_one_shows():
    async def scene(checker, backend, server, seen):
        server.ahead = 0.04
        await checker.probe(backend)

    # The steady clock is a thousand seconds off, as after a jump of the system's.
    first, second = watch(scene, SELDOM, clock=lambda: PROBED, steady=lambda: time.time() - 1000.0)
    assert (first.where.backend, first.where.address, first.time, first.good, first.cause) == (
        "ntp-1",
        "127.0.0.1",
        PROBED,
        True,
        "",
    )
    assert (first.was_up, first.held) == (False, 0.0)
    assert first.measured.offset == pytest.approx(0.0, abs=0.02)
    assert second.measured.offset == pytest.approx(0.04, abs=0.02)
    assert (second.measured.stratum, second.measured.leap) == (2, 0)
    assert second.was_up


def test_what_becomes_of_a_backend_is_seen_probe_by_probe():
    async def scene(checker, backend, server, seen):
        await until(lambda: len(seen) >= 3)
        server.silent = True
        await until(lambda: not checker.up(backend))
        server.silent = False
        await until(lambda: checker.up(backend))
        await until(lambda: seen[-1].was_up)

    seen = watch(scene)
    assert {each.cause for each in seen} == {"", "no answer"}
    missed = [each for each in seen if not each.good]
    assert all(each.measured is None for each in missed)
    assert len(missed) >= 3
    # UP before the third miss, DOWN after it.
    assert [each.was_up for each in missed[:3]] == [True] * 3
    assert not seen[seen.index(missed[2]) + 1].was_up
    assert all(0 <= each.held <= 2 * SETTINGS.interval + 1e-6 for each in seen)
    assert sum(each.held for each in seen) > 0
