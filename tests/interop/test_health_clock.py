"""The offset vote while the gateway's own clock is wrong and while it is stepped, and where there is no majority."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.interop.clocks import Clock, wrong_clock
from tests.interop.daemons import chronyd
from tests.interop.lab import wait_until
from tests.interop.pool import Member, Pool, laid_out
from tests.interop.upstream import Upstream, upstream
from tests.interop.verdicts import (
    EVIDENT,
    INTERVAL,
    QUICK,
    check_that_it_is_avoided,
    check_that_it_is_back,
    check_that_it_is_found,
    check_that_nobody_else_suffered,
)
from tests.interop.visitors import Visitors, visitors

VICTIM = "ntp-2"


@dataclass(frozen=True, slots=True)
class Scene:
    """A pool whose second backend follows `source`, and whose gateway's clock can be set by itself."""

    pool: Pool
    stream: Visitors
    source: Upstream
    clock: Clock

    def check_that_a_lie_is_found(self) -> None:
        """Let the second backend lie for a while."""
        began = time.time()
        self.source.lie(self.pool.daemons[VICTIM])
        down = check_that_it_is_found(self.pool, VICTIM, "offset vote", began, EVIDENT)
        check_that_it_is_avoided(self.stream, VICTIM, down)
        healed = time.time()
        self.source.be_honest(self.pool.daemons[VICTIM])
        check_that_it_is_back(self.stream, VICTIM, healed)
        check_that_nobody_else_suffered(self.stream, VICTIM, began)


@contextmanager
def _scene(backends: int, shift: float) -> Iterator[Scene]:
    with ExitStack() as stack:
        source = stack.enter_context(upstream())
        names = [f"ntp-{n}" for n in range(1, backends + 1)]
        members = [
            Member(name, (f"127.0.0.1{name[-1]}",), source.follower if name == VICTIM else chronyd) for name in names
        ]
        pool = stack.enter_context(laid_out(members, health=QUICK))
        for each in members:
            stack.enter_context(pool.daemon(each.name))
        clock = stack.enter_context(wrong_clock(shift))
        stack.enter_context(pool.gateway(env=os.environ | clock.env))
        yield Scene(pool, stack.enter_context(visitors(pool)), source, clock)


def test_a_gateway_whose_clock_is_wrong_and_is_stepped():
    with _scene(3, 100.0) as scene:
        scene.pool.wait_until_up(*scene.pool.members)
        scene.check_that_a_lie_is_found()
        stepped = time.time()
        scene.clock.step(-7.0)
        wait_until("every backend to be probed", lambda: time.time() > stepped + 4 * INTERVAL)
        scene.clock.step(0.0)
        scene.check_that_a_lie_is_found()
        check_that_nobody_else_suffered(scene.stream, VICTIM, 0.0)
        assert len(scene.pool.log("backend DOWN")) == 2


def test_two_backends_that_disagree():
    """The gateway's own clock then has a vote, and the gateway says so."""
    with _scene(2, 0.0) as scene:
        scene.pool.wait_until_up(*scene.pool.members)
        assert [line["mode"] for line in scene.pool.log("offset vote")] == ["local clock"]
        scene.check_that_a_lie_is_found()
