"""Networks that fail, one address family of one backend or all of it, between a gateway and backends at the end of a cable."""

import time
from contextlib import ExitStack

import pytest

from tests.interop.lab import Network, cable, wait_until
from tests.interop.pool import HOSTS, Member, running_pool
from tests.interop.verdicts import (
    QUICK,
    SILENT,
    TOLD,
    WELL,
    check_that_it_is_found,
    check_that_nobody_else_suffered,
    lines,
    when,
)
from tests.interop.visitors import visitors

VICTIM = "ntp-2"
MEMBERS = [Member(f"ntp-{n}", (f"10.9.0.1{n}", f"fd09::1{n}"), port=123) for n in (1, 2, 3)]
ENOUGH = 25
"""Visits of one family in which each of three backends is given out, but for one chance in ten thousand."""


@pytest.fixture(scope="module")
def scene():
    if len(HOSTS) == 1:
        pytest.skip("this machine has no IPv6")
    with cable(*(address for each in MEMBERS for address in each.addresses)) as link, ExitStack() as stack:
        pool = stack.enter_context(running_pool(MEMBERS, link.here, QUICK, link.there))
        yield link, pool, stack.enter_context(visitors(pool, HOSTS))


@pytest.mark.parametrize("family", [4, 6])
def test_one_family_of_one_backend_is_cut(scene, family):
    """It is given to the clients of the other family as before."""
    link, pool, stream = scene
    address = next(each for each in pool.members[VICTIM].addresses if (":" in each) == (family == 6))
    began = time.time()
    link.mute(address)
    try:
        down = check_that_it_is_found(pool, VICTIM, "no answer", began, SILENT)
        visits = _enough(stream, down + TOLD)
        assert {line["address"] for line in lines(pool, "backend DOWN", VICTIM, began)} == {address}
        assert {(each.family, stream.backend(each)) for each in visits} == _everybody() - {(family, VICTIM)}
        assert [each for each in visits if not each.served] == []
    finally:
        healed = time.time()
        link.unmute(address)
    back = wait_until("it to be UP", lambda: lines(pool, "backend UP", VICTIM, healed))[0]
    assert when(back) - healed < WELL
    wait_until("it to serve", lambda: VICTIM in stream.given_out(when(back), family))
    check_that_nobody_else_suffered(stream, VICTIM, began)


def test_everything_falls_silent(scene):
    """It is our own network that must be wrong: clients get answers as before, and an operator gets to know."""
    link, pool, stream = scene
    began = time.time()
    link.mute(*link_addresses())
    panic = wait_until("panic", lambda: _panics(pool, began), SILENT)


def _panics(pool, since):
    return [line for line in pool.log("panic") if when(line) >= since]


def _everybody():
    return {(family, each.name) for family in (4, 6) for each in MEMBERS}


def _enough(stream, since):
    """Return the visits since, once there are enough of either family."""

    def found():
        visits = stream.visits(since)
        return min(sum(each.family == family for each in visits) for family in (4, 6)) >= ENOUGH and visits

    return wait_until("visits", found)
