"""What a gateway must make of a backend that fails: find it, name the cause, in time, avoid it, and take it back.

Times come from the gateway's own log, and are Unix seconds.
"""

from datetime import datetime
from typing import Any

from tests.interop.lab import wait_until
from tests.interop.pool import Pool
from tests.interop.visitors import Visitors

INTERVAL, FAST_INTERVAL, TIMEOUT, RISE, FALL = 0.4, 0.2, 0.15, 2, 3
QUICK = (
    f"{{interval: {INTERVAL}, fast_interval: {FAST_INTERVAL}, down_interval: {FAST_INTERVAL}, "
    f"timeout: {TIMEOUT}, rise: {RISE}, fall: {FALL}}}"
)

# Intervals are jittered by a tenth, and a probe is two requests.
_NEXT, _FAST, _PROBE = 1.1 * INTERVAL, 1.1 * FAST_INTERVAL, 2 * TIMEOUT
SLACK = 5.0
"""Seconds that a machine with much else to do may take more."""

EVIDENT = _NEXT + _PROBE + SLACK
"""Seconds in which whoever shows himself that he is no good must be DOWN."""

SILENT = _NEXT + (FALL - 1) * _FAST + FALL * _PROBE + SLACK
"""Seconds in which who is not heard from any more must be DOWN."""

WELL = _NEXT + (RISE - 1) * _FAST + RISE * _PROBE + SLACK
"""Seconds in which who is well again must be UP."""

TOLD = 1.0
"""Seconds in which workers know what the log says, and sessions have ended that began before."""

_VISITS = 30
"""Visits in which a backend out of three is given out, but for one chance in a hundred thousand."""


def when(line: dict[str, Any]) -> float:
    """Return when a line was logged."""
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def lines(pool: Pool, event: str, backend: str, since: float, address: str | None = None) -> list[dict[str, Any]]:
    """Return what was logged since of an event of a backend, at one of its addresses or any."""
    return [
        line
        for line in pool.log(event)
        if line["backend"] == backend and when(line) >= since and address in (None, line["address"])
    ]


def check_that_it_is_found(
    pool: Pool, victim: str, cause: str, since: float, within: float, address: str | None = None
) -> float:
    """Wait until a backend is DOWN that began to fail at `since`, and return when; its cause names `cause`.

    `within` EVIDENT seconds it must be by the first sign of that, within SILENT ones by `fall` misses.
    """
    down = lambda: lines(pool, "backend DOWN", victim, since, address)  # noqa: E731
    found = wait_until(f"{victim} to be DOWN", down, 2 * within)[0]
    # A probe that was under way may have met the trouble with its second cookie only, and says so first.
    assert cause in found["cause"]
    assert when(found) - since < within
    earlier = [each for each in lines(pool, "check", victim, since, found["address"]) if when(each) < when(found)]
    if within == EVIDENT:
        assert [each for each in earlier if each["cause"].startswith(cause)] == []
    if within == SILENT:
        assert len(earlier) >= FALL - 1
    return when(found)


def check_that_it_is_avoided(stream: Visitors, victim: str, since: float) -> None:
    """Let clients come once it is DOWN since: nobody must be given it, and everybody must get the right time."""
    since += TOLD
    visits = wait_until("visits", lambda: len(found := stream.visits(since)) >= _VISITS and found)
    assert victim not in map(stream.backend, visits)
    assert [each for each in visits if not each.served] == []


def check_that_it_is_back(stream: Visitors, victim: str, since: float, within: float = WELL) -> None:
    """Wait until a backend that is well since is UP and serves clients."""
    back = wait_until(f"{victim} to be UP", lambda: lines(stream.pool, "backend UP", victim, since))[0]
    assert when(back) - since < within
    served = lambda: any(each.served and stream.backend(each) == victim for each in stream.visits(when(back)))  # noqa: E731
    wait_until(f"{victim} to serve", served)


def check_that_nobody_else_suffered(stream: Visitors, victim: str, since: float) -> None:
    """No other backend was accused since, and no client left without an answer."""
    assert {line["backend"] for line in stream.pool.log("backend DOWN") if when(line) >= since} <= {victim}
    assert [each.refusal for each in stream.visits(since) if each.refusal] == []
