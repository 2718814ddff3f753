"""Memory given back to the system when many sessions have ended.

The C library gives back only what lies above everything in use, which after a flood is nothing: 60 kilobytes of TLS
for each of thousands of sessions stay with the process, under a few small pieces. glibc's malloc_trim finds them all.
It takes half a millisecond for each megabyte, in which nobody is served, so it is asked when it has much to give.
"""

import ctypes
from collections.abc import Callable
from typing import Final

EBB: Final = 400
"""Sessions that must have ended since there were most: some 25 MB, if all were in TLS."""

REST: Final = 10.0
"""Seconds between two times."""


def _malloc_trim() -> Callable[[int], object]:
    # Other C libraries have no such function, and keep less.
    return getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)


class Tide:
    """Watches how many sessions are open; calls `give_back`, which is glibc's malloc_trim, when many have ended."""

    def __init__(self, give_back: Callable[[int], object] | None = None) -> None:
        self._give_back = give_back or _malloc_trim()
        self._most = 0
        self._rests_until = 0.0

    def watch(self, sessions: int, now: float) -> None:
        """Take note of how many sessions are open at `now`, seconds of any clock that never goes back."""
        self._most = max(self._most, sessions)
        if self._most - sessions < max(EBB, self._most / 2) or now < self._rests_until:
            return
        self._give_back(0)
        self._most, self._rests_until = sessions, now + REST
