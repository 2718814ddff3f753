"""Waiting for what other tasks and processes bring about."""

import asyncio
from collections.abc import Callable

DEADLINE = 20.0


async def until(condition: Callable[[], object]) -> None:
    """Return once `condition()` is true; raises TimeoutError when that takes too long."""
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.005)
