"""Backends that are no plain chronyd of Debian's: they answer by kisses, or serve not every AEAD they are said to."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest

from ntspool.wire.aead import Aead
from tests.interop.daemons import Daemon, chronyd, ntpd_rs
from tests.interop.pool import Member, running_pool, laid_out
from tests.interop.verdicts import (
    EVIDENT,
    QUICK,
    SILENT,
    check_that_it_is_avoided,
    check_that_it_is_back,
    check_that_it_is_found,
    check_that_nobody_else_suffered,
    lines,
)
from tests.interop.visitors import visitors

FLOOD_PAUSE = 0.002
# Sixteen requests a second are served, many more at first; of others every second gets a kiss, and few an answer.
RATE_LIMITED = "ratelimit interval -4 burst 255 leak 4 kod 1"
BOTH = "[AES-SIV-CMAC-256, AES-128-GCM-SIV]"


@contextmanager
def flood(daemon: Daemon) -> Iterator[None]:
    """Ask a daemon for the time, far too often, as somebody else behind our own address."""
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(FLOOD_PAUSE):
            daemon.udp.send(b"\x23" + bytes(39) + os.urandom(8))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_chronyd_that_limits_rates():
    victim = "ntp-2"
    limited = partial(chronyd, program="chronyd-new", extra=RATE_LIMITED)
    members = [Member(f"ntp-{n}", (f"127.0.0.{10 + n}",), run=limited if n == 2 else chronyd) for n in (1, 2, 3)]
    with running_pool(members, health=QUICK) as pool, visitors(pool) as stream:
        began = time.time()
        with flood(pool.daemons[victim]):
            # Half of the kisses and nearly all of the answers are left out: which comes last is chance.
            down = check_that_it_is_found(pool, victim, "", began, SILENT)
            check_that_it_is_avoided(stream, victim, down)
            causes = {line["cause"] for event in ("check", "backend DOWN") for line in lines(pool, event, victim, began)}
            assert "kiss-o'-death (RATE)" in causes
        over = time.time()
        check_that_it_is_back(stream, victim, over, 2 * SILENT)
        check_that_nobody_else_suffered(stream, victim, began)
