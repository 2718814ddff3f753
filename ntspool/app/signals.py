"""What signals tell a process that runs until one ends it."""

import asyncio
import signal
from collections.abc import Callable


def heed_signals(reload: Callable[[], None]) -> asyncio.Event:
    """Call `reload` on every SIGHUP from now on, and set the event that is returned on SIGTERM and SIGINT.

    To be called before anything is started: a SIGHUP that came earlier would end the process.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, reload)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
