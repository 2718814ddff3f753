"""Backends that are no plain chronyd of Debian's: they answer by kisses, or serve not every AEAD they are said to."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from ntspool.wire.aead import Aead
from tests.interop.daemons import Daemon, chronyd, ntpd_rs
from tests.interop.lab import DEADLINE, wait_until
from tests.interop.pool import Member, laid_out, running_pool
from tests.interop.verdicts import (
    FALL,
    QUICK,
    SILENT,
    TOLD,
    check_that_it_is_avoided,
    check_that_it_is_back,
    check_that_it_is_found,
    check_that_nobody_else_suffered,
    lines,
    when,
)
from tests.interop.visitors import visitors

FLOOD_PAUSE = 0.002
# Sixteen requests a second are served, many more at first; of others every second gets a kiss, and few an answer.
RATE_LIMITED = "ratelimit interval -4 burst 255 leak 4 kod 1"
# Half of the probes get a kiss: that none of so many does, is one chance in three hundred thousand.
LONG_FALL = QUICK.replace(f"fall: {FALL}", "fall: 20")
SIV, GCM_SIV = Aead.AES_SIV_CMAC_256, Aead.AES_128_GCM_SIV
BOTH = "[AES-SIV-CMAC-256, AES-128-GCM-SIV]"
VICTIM = "ntp-2"


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
    limited = partial(chronyd, program="chronyd-new", extra=RATE_LIMITED)
    members = [Member(f"ntp-{n}", (f"127.0.0.{10 + n}",), run=limited if n == 2 else chronyd) for n in (1, 2, 3)]
    with running_pool(members, health=LONG_FALL) as pool, visitors(pool) as stream:
        began = time.time()
        with flood(pool.daemons[VICTIM]):
            # Whether a kiss or nothing comes last is chance, as is an answer now and then.
            down = check_that_it_is_found(pool, VICTIM, "", began, DEADLINE)
            check_that_it_is_avoided(stream, VICTIM, down)
            causes = {
                line["cause"] for event in ("check", "backend DOWN") for line in lines(pool, event, VICTIM, began)
            }
            assert "kiss-o'-death (RATE)" in causes
        over = time.time()
        check_that_it_is_back(stream, VICTIM, over, 2 * SILENT)
        check_that_nobody_else_suffered(stream, VICTIM, began)


def test_an_ntpd_rs_that_denies():
    members = [Member(f"ntp-{n}", (f"127.0.0.{10 + n}",)) for n in (1, 2, 3)]
    source = f"127.0.0.11:{members[0].port}"
    members[1].cookies, members[1].run = "ntpd-rs", partial(ntpd_rs, source=source, deny="127.0.0.0/8")
    with laid_out(members, health=QUICK) as pool, ExitStack() as stack:
        for name in ("ntp-1", "ntp-3"):
            stack.enter_context(pool.daemon(name))
        began = time.time()
        with pool.daemon(VICTIM):
            stack.enter_context(pool.gateway())
            stream = stack.enter_context(visitors(pool))
            down = check_that_it_is_found(pool, VICTIM, "kiss-o'-death (DENY)", began, DEADLINE)
            check_that_it_is_avoided(stream, VICTIM, down)
        members[1].run = partial(ntpd_rs, source=source)
        with pool.daemon(VICTIM):
            # It takes its time to believe its source.
            check_that_it_is_back(stream, VICTIM, time.time(), DEADLINE)
        check_that_nobody_else_suffered(stream, VICTIM, began)


def test_a_chronyd_that_serves_not_every_aead_that_is_declared():
    """Clients of the other go on being given it; with a newer chronyd it serves them all."""
    newer = partial(chronyd, program="chronyd-new")
    members = [Member(f"ntp-{n}", (f"127.0.0.{10 + n}",), newer, aeads=BOTH) for n in (1, 2, 3)]
    members[1].run = chronyd
    with laid_out(members, health=QUICK) as pool, ExitStack() as stack:
        for name in ("ntp-1", "ntp-3"):
            stack.enter_context(pool.daemon(name))
        with pool.daemon(VICTIM):
            stack.enter_context(pool.gateway())
            stream = stack.enter_context(visitors(pool, offers=((SIV,), (GCM_SIV,), (GCM_SIV, SIV))))
            (told,) = wait_until("an AEAD to be DOWN", lambda: lines(pool, "aead DOWN", VICTIM, 0.0))
            # This chronyd has not even a NAK for what it does not know.
            assert (told["aead"], told["cause"]) == ("AES-128-GCM-SIV", "no answer")
            visits = wait_until("visits", lambda: len(found := stream.visits(when(told) + TOLD)) > 100 and found)
            assert [each for each in visits if not each.served] == []
            assert VICTIM in {stream.backend(each) for each in visits if each.offer == (SIV,)}
            assert VICTIM not in {stream.backend(each) for each in visits if each.offer == (GCM_SIV,)}
            assert {each.aead for each in visits if stream.backend(each) == VICTIM} == {SIV}
        members[1].run = newer
        with pool.daemon(VICTIM):
            back = lambda: [each for each in stream.visits(when(told)) if each.served and each.aead == GCM_SIV]  # noqa: E731
            wait_until("it to serve both", lambda: VICTIM in map(stream.backend, back()))
