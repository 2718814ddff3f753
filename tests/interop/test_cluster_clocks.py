"""Gateways whose clocks differ by seconds, and whose keys rotate by the timer of whichever of them leads."""

import time
from contextlib import ExitStack
from itertools import pairwise

from tests.interop.clocks import wrong_clock
from tests.interop.cluster import sites
from tests.interop.lab import wait_until
from tests.interop.load import load
from tests.interop.pool import Member
from tests.interop.rotating import PATIENCE, unix_time

SHIFTS = {"north": 4.0, "south": -3.0, "west": 0.0}
"""Seconds by which each gateway's clock is wrong."""

ROTATE, LIFE = 5.0, 1.5
CHRONYDS = [Member(f"ntp-{n}", (f"127.0.0.{40 + n}",)) for n in (1, 2, 3)]


def rotations(running):
    """Return when, by whom and to which epoch the keys were rotated, by the right time."""
    logs = ((name, line) for name in SHIFTS for line in running[name].log("gateway", "keys rotated"))
    return sorted((unix_time(line), name, line["epoch"]) for name, line in logs)


def wait_for_rotations(running, by, count):
    def done():
        return sum(name == by for _, name, _ in rotations(running)) >= count

    wait_until(f"{count} rotations by {by}", done, count * ROTATE + PATIENCE)


def wait_until_moved_on(running, name):
    """Wait until a gateway is known to mint under no older epoch: if it is killed before, the others must wait."""
    site, other = running[name], next(each for each in running.running if each.name != name)

    def moved_on():
        return set(site.minting().values()) == {site.current()} and site.status()["now"]

    def told():
        return next(each["told"] for each in other.cluster()["gateways"] if each["name"] == name)

    since = wait_until(f"{name} to move on", moved_on, PATIENCE)
    running.wait(f"{name} to tell", lambda: told() > since)


def leaders(running):
    return {each.cluster()["leader"] for each in running.running}


def test_the_leaders_timer_rotates_once_for_all_though_clocks_differ():
    with ExitStack() as stack:
        clocks = {name: stack.enter_context(wrong_clock(shift)) for name, shift in SHIFTS.items()}
        programs = {name: clock.program("tests.interop.hurried") for name, clock in clocks.items()}
        running = stack.enter_context(sites(CHRONYDS, life=LIFE, rotate=f"{ROTATE:g}s", programs=programs))
        told = running["north"].status()["now"] - running["south"].status()["now"]
        assert told > 4.0
        loads = [stack.enter_context(load(each.pool, clients=10, life=LIFE)) for each in running.sites.values()]

        first = running.leader()
        began = time.time()
        wait_for_rotations(running, first, len(rotations(running)) + 2)
        assert leaders(running) == {first}
        assert {name for when, name, _ in rotations(running) if when > began} == {first}
        # Its successor's clock is another one: the next rotation comes the sooner or the later for that.
        wait_until_moved_on(running, first)
        running[first].kill("gateway")
        running.wait("another to lead", lambda: leaders(running) <= SHIFTS.keys() - {first}, PATIENCE)
        second = running.leader()
        wait_for_rotations(running, second, 1)
        check_that_there_was_one_an_interval(running, first, second)
        running[first].start_gateway()
        running.agree()
        # Whoever starts again begins another log.
        wait_for_rotations(running, second, 2)
        check_that_there_was_one_an_interval(running, second)
        assert leaders(running) == {second}

        for each in loads:
            report = each.settle()
            assert report.failures == []
            assert sum(report.answered.values()) > 50
        running.agree()


def check_that_there_was_one_an_interval(running, *leading):
    """Each epoch was made once, and those of one gateway by its own clock: an interval apart."""
    made = rotations(running)
    epochs = [epoch for *_, epoch in made]
    assert epochs == list(range(epochs[0], epochs[0] + len(epochs)))
    for (before, earlier, _), (after, later, _) in pairwise(made):
        if earlier == later:
            assert after - before > ROTATE - 0.5, (earlier, made)
    assert {name for _, name, _ in made} == set(leading)
