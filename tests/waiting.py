"""Waiting for what other tasks and processes bring about."""

import asyncio
import time
from collections.abc import Callable

DEADLINE = 60.0
"""Seconds: far more than anything needs on a machine with much else to do."""


async def until(condition: Callable[[], object]) -> None:
    """Return once `condition()` is true; raises TimeoutError when that takes too long."""
    async with asyncio.timeout(DEADLINE):
        began = time.monotonic()
        while not condition():
            # Asking must not take the time that what is waited for needs.
            await asyncio.sleep(max(0.005, time.monotonic() - began))
            began = time.monotonic()
