"""An agent whose machine's clock is wrong, and is set, beside a real chronyd: keys come all the same."""

from contextlib import contextmanager

from tests.interop.clocks import wrong_clock
from tests.interop.lab import wait_until
from tests.interop.load import load
from tests.interop.pool import Member
from tests.interop.rotating import PATIENCE, rotating_pool

HOUR, YEAR = 3600.0, 365 * 86400.0
VICTIM = "ntp-1"
MEMBERS = [Member(f"ntp-{n}", (f"127.0.0.{60 + n}",)) for n in (1, 2)]


@contextmanager
def its_clock_wrong(rotating):
    """Run the victim's agent by a clock of its own, and yield that."""
    with wrong_clock() as clock:
        rotating.kill(VICTIM)
        plain, rotating.program = rotating.program, clock.program()
        rotating.start_agent(VICTIM)
        rotating.program = plain
        yield clock
        rotating.kill(VICTIM)


def test_an_agents_clock_is_stepped():
    with (
        rotating_pool(MEMBERS, life=4) as rotating,
        its_clock_wrong(rotating) as clock,
        load(rotating.pool, clients=20, life=rotating.life) as running_load,
    ):

        def moved_on():
            return rotating.minting() == dict.fromkeys(rotating.pool.members, rotating.current())

        for seconds in (HOUR, -HOUR):
            clock.step(seconds)
            rotating.rotate()
            wait_until("all to mint under the new epoch", moved_on, PATIENCE)
        clock.step(YEAR)
        rotating.rotate()
        wait_until("it to be told", lambda: rotating.log(VICTIM, "no gateway answers, the daemon keeps its keys"))
        assert "has ended by this machine's clock" in rotating.said(VICTIM)
        clock.step(0.0)
        wait_until("all to mint under the new epoch", moved_on, PATIENCE)
        report = running_load.settle()
        assert report.failures == []
        assert report.refusals == []
