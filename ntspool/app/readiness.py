"""Waiting for a gateway to be ready, one that has not been started yet as well."""

from collections.abc import Callable
from typing import Any

from ntspool.app.problems import problems
from ntspool.errors import UnreachableError

PAUSE = 0.25
"""Seconds between two looks."""
_MOST = 3
"""How many problems are told as the reason."""


def wait_ready(
    ask: Callable[[float], dict[str, Any]],
    timeout: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> str | None:
    """Return None as soon as the gateway is ready, or after `timeout` seconds in words why it is not.

    `ask` returns its view within so many seconds and raises UnreachableError; `clock` is a steady one, in seconds.
    """
    end = clock() + timeout
    while True:
        left = end - clock()
        try:
            view = ask(max(left, PAUSE))
        except UnreachableError as error:
            reason = str(error)
        else:
            if view["ready"]:
                return None
            reason = "; ".join(problems(view)[:_MOST])
        left = end - clock()
        if left <= 0:
            return reason
        sleep(min(PAUSE, left))
