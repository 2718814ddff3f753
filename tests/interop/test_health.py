"""Backends that fail, and a gateway that must notice: nobody is sent there until they are well again."""

import signal
from contextlib import ExitStack

from ntspool.app.export import key_file
from tests.interop.lab import wait_until
from tests.interop.pool import Member, laid_out, running_pool

QUICK = "{interval: 250ms, timeout: 200ms, rise: 2, fall: 3}"
MEMBERS = [Member(f"ntp-{number}", (f"127.0.0.{10 + number}",)) for number in (1, 2, 3)]
VICTIM = "ntp-2"
SESSIONS = 40
"""Sessions in which a backend out of three is given out, but for one chance in ten million."""


def check_that_it_is_avoided(pool):
    wait_until(f"{VICTIM} to be DOWN", lambda: VICTIM not in pool.up())
    # What is logged, the workers get to know a moment later.
    wait_until(f"{VICTIM} to be avoided", lambda: VICTIM not in pool.given_out(SESSIONS))


def check_that_it_is_back(pool):
    wait_until(f"{VICTIM} to be UP", lambda: VICTIM in pool.up())
    wait_until(f"{VICTIM} to be given out", lambda: pool.session() == VICTIM)


def test_a_backend_that_is_killed():
    with running_pool(MEMBERS, health=QUICK) as pool:
        pool.daemons[VICTIM].process.kill()
        check_that_it_is_avoided(pool)
        with pool.daemon(VICTIM):
            check_that_it_is_back(pool)


def test_a_backend_that_hangs():
    with running_pool(MEMBERS, health=QUICK) as pool:
        process = pool.daemons[VICTIM].process
        process.send_signal(signal.SIGSTOP)
        try:
            check_that_it_is_avoided(pool)
        finally:
            process.send_signal(signal.SIGCONT)
        check_that_it_is_back(pool)


def test_a_backend_that_has_got_the_keys_of_another():
    with ExitStack() as stack:
        pool = stack.enter_context(laid_out(MEMBERS, health=QUICK))
        for name in pool.members:
            keys = key_file(pool.config, "ntp-1" if name == VICTIM else name)
            stack.enter_context(pool.daemon(name, keys))
        stack.enter_context(pool.gateway())
        check_that_it_is_avoided(pool)
        assert (VICTIM, "NTS NAK") in [(line["backend"], line["cause"]) for line in pool.log("backend DOWN")]
        daemon = pool.daemons[VICTIM]
        daemon.key_file.write_bytes(key_file(pool.config, VICTIM))
        daemon.chronyc("rekey")
        check_that_it_is_back(pool)
