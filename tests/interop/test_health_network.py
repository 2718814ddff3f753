"""Networks that fail between a gateway and its backends: one address family of one backend, or everything."""

import time
from contextlib import ExitStack
from typing import Any

import pytest

from ntspool.app.export import key_file
from tests.interop.cables import cable
from tests.interop.lab import wait_until
from tests.interop.pool import HOSTS, Member, Pool, running_pool
from tests.interop.verdicts import (
    EVIDENT,
    QUICK,
    SILENT,
    TOLD,
    WELL,
    check_that_it_is_found,
    check_that_nobody_else_suffered,
    lines,
    when,
)
from tests.interop.visitors import Visit, Visitors, visitors

VICTIM = "ntp-2"
MEMBERS = [Member(f"ntp-{n}", (f"10.9.0.1{n}", f"fd09::1{n}"), port=123) for n in (1, 2, 3)]
ALL = [address for each in MEMBERS for address in each.addresses]
ENOUGH = 25
"""Visits of one family in which each of three backends is given out, but for one chance in ten thousand."""


@pytest.fixture(scope="module")
def scene():
    if len(HOSTS) == 1:
        pytest.skip("this machine has no IPv6")
    with cable(*ALL) as link, ExitStack() as stack:
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
        down = check_that_it_is_found(pool, VICTIM, "no answer", began, SILENT, address)
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
    """It must be our own network: clients get answers all the while, an operator gets to know, and it passes."""
    link, pool, stream = scene
    began = time.time()
    link.mute(*ALL)
    try:
        _check_that_it_panics(pool, "on", began)
        assert _given_out_meanwhile(pool) == _everybody()
    finally:
        healed = time.time()
        link.unmute(*ALL)
    _check_that_it_panics(pool, "off", healed)
    _check_that_all_serve(stream, time.time() + TOLD)
    assert [each.refusal for each in stream.visits(began) if each.refusal] == []


def test_the_cable_is_pulled_while_one_backend_has_wrong_keys(scene):
    """Who was found to be bad before, by what it said itself, is not given out again for want of others."""
    link, pool, stream = scene
    daemon = pool.daemons[VICTIM]
    began = time.time()
    daemon.key_file.write_bytes(key_file(pool.config, "ntp-1"))
    daemon.chronyc("rekey")
    for address in pool.members[VICTIM].addresses:
        check_that_it_is_found(pool, VICTIM, "NTS NAK", began, EVIDENT, address)
    pulled = time.time()
    link.pull()
    try:
        _check_that_it_panics(pool, "on", pulled)
        assert _given_out_meanwhile(pool) == _everybody() - {(4, VICTIM), (6, VICTIM)}
    finally:
        plugged = time.time()
        link.plug()
    _check_that_it_panics(pool, "off", plugged)
    daemon.key_file.write_bytes(key_file(pool.config, VICTIM))
    daemon.chronyc("rekey")
    pool.wait_until_up(*pool.members)
    _check_that_all_serve(stream, time.time() + TOLD)
    assert [each.refusal for each in stream.visits(began) if each.refusal] == []


def _check_that_it_panics(pool: Pool, state: str, since: float) -> None:
    """Wait until panic is on or off in both families, which is an error to be logged."""

    def told() -> list[dict[str, Any]] | bool:
        found = [each for each in pool.log("panic") if when(each) >= since and each["state"] == state]
        return {each["family"] for each in found} == {"IPv4", "IPv6"} and found

    found = wait_until(f"panic to be {state}", told)
    assert {each["level"] for each in found} == {"error"}
    assert max(map(when, found)) - since < SILENT


def _given_out_meanwhile(pool: Pool) -> set[tuple[int, str]]:
    """Return by families whom clients are given while no backend answers any."""
    with visitors(pool, HOSTS, spend=False) as stream:
        return {(each.family, stream.backend(each)) for each in _enough(stream, 0.0)}


def _check_that_all_serve(stream: Visitors, since: float) -> None:
    visits = _enough(stream, since)
    assert {(each.family, stream.backend(each)) for each in visits} == _everybody()
    assert [each for each in visits if not each.served] == []


def _everybody() -> set[tuple[int, str]]:
    return {(family, each.name) for family in (4, 6) for each in MEMBERS}


def _enough(stream: Visitors, since: float) -> list[Visit]:
    """Return the visits since, once there are enough of either family."""

    def found() -> list[Visit] | bool:
        visits = stream.visits(since)
        return min(sum(each.family == family for each in visits) for family in (4, 6)) >= ENOUGH and visits

    return wait_until("visits", found)
