"""A backend out of three fails, each time in another way: it is found, named and avoided, and taken back once well."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from ntspool.app.export import key_file
from tests.interop.daemons import Daemon
from tests.interop.pool import Member, Pool, running_pool
from tests.interop.upstream import Upstream, upstream
from tests.interop.verdicts import (
    EVIDENT,
    QUICK,
    SILENT,
    check_that_it_is_avoided,
    check_that_it_is_back,
    check_that_it_is_found,
    check_that_nobody_else_suffered,
)
from tests.interop.visitors import Visitors, visitors

VICTIM = "ntp-2"
TOO_FAR = 2.0
"""Seconds of root dispersion that a client does not put up with, but chronyd still does (`maxdistance`, 3 s)."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A pool with clients, and the source of its second backend's time; what `running` holds ends with it."""

    pool: Pool
    stream: Visitors
    source: Upstream
    running: ExitStack

    @property
    def daemon(self) -> Daemon:
        """The second backend's daemon."""
        return self.pool.daemons[VICTIM]

    def start(self, keys: bytes | None = None) -> None:
        """Start that again, with its own keys unless it is given others."""
        self.running.enter_context(self.pool.daemon(VICTIM, keys))

    @contextmanager
    def suffering(self, cause: str, within: float) -> Iterator[None]:
        """The block makes the second backend fail; check that the gateway finds `cause`, and avoids it."""
        since = time.time()
        yield
        down = check_that_it_is_found(self.pool, VICTIM, cause, since, within)
        check_that_it_is_avoided(self.stream, VICTIM, down)
        check_that_nobody_else_suffered(self.stream, VICTIM, since)

    @contextmanager
    def healing(self) -> Iterator[None]:
        """The block makes it well; check that it is taken back."""
        since = time.time()
        yield
        check_that_it_is_back(self.stream, VICTIM, since)
        check_that_nobody_else_suffered(self.stream, VICTIM, since)


@pytest.fixture(scope="module")
def shared_scene():
    with ExitStack() as stack:
        source = stack.enter_context(upstream())
        members = [
            Member("ntp-1", ("127.0.0.11",)),
            Member(VICTIM, ("127.0.0.12",), run=source.follower),
            Member("ntp-3", ("127.0.0.13",)),
        ]
        pool = stack.enter_context(running_pool(members, health=QUICK))
        yield Scene(pool, stack.enter_context(visitors(pool)), source, stack)


@pytest.fixture
def scene(shared_scene):
    shared_scene.pool.wait_until_up(*shared_scene.pool.members)
    yield shared_scene
    shared_scene.source.root_dispersion, shared_scene.source.silent = 0.0, False


def test_one_that_hangs(scene):
    process = scene.daemon.process
    try:
        with scene.suffering("no answer", SILENT):
            process.send_signal(signal.SIGSTOP)
    finally:
        with scene.healing():
            process.send_signal(signal.SIGCONT)


def test_one_whose_clock_is_off(scene):
    with scene.suffering("offset vote", EVIDENT):
        scene.source.lie(scene.daemon)
    with scene.healing():
        scene.source.be_honest(scene.daemon)


def test_one_whose_time_may_be_too_far_off(scene):
    with scene.source.without_the_liar(scene.daemon):
        with scene.suffering("root distance", EVIDENT):
            scene.source.root_dispersion = TOO_FAR
        with scene.healing():
            scene.source.root_dispersion = 0.0


def test_one_that_loses_its_source(scene):
    with scene.suffering("unsynchronised", EVIDENT):
        scene.source.silent = True
        scene.daemon.chronyc("reset", "sources")
    with scene.healing():
        scene.source.silent = False


def test_one_that_gets_the_keys_of_another(scene):
    with scene.suffering("NTS NAK", EVIDENT):
        _rekey(scene.daemon, key_file(scene.pool.config, "ntp-1"))
    with scene.healing():
        _rekey(scene.daemon, key_file(scene.pool.config, VICTIM))


def test_one_that_is_killed_and_comes_back_without_its_source(scene):
    with scene.suffering("refused", SILENT):
        scene.daemon.process.kill()
    scene.source.silent = True
    scene.start()
    check_that_it_is_avoided(scene.stream, VICTIM, time.time())
    with scene.healing():
        scene.source.silent = False


def test_one_that_is_ended_and_comes_back_with_the_keys_of_another(scene):
    with scene.suffering("refused", SILENT):
        scene.daemon.process.terminate()
    scene.start(key_file(scene.pool.config, "ntp-1"))
    check_that_it_is_avoided(scene.stream, VICTIM, time.time())
    with scene.healing():
        _rekey(scene.daemon, key_file(scene.pool.config, VICTIM))


def _rekey(daemon: Daemon, keys: bytes) -> None:
    daemon.key_file.write_bytes(keys)
    daemon.chronyc("rekey")
