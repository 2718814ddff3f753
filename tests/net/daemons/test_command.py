"""Programs that do not do as they should."""

import asyncio
import time

import pytest

from ntspool.errors import LocalError
from ntspool.net.daemons.command import run


def test_it_returns_what_was_printed():
    assert asyncio.run(run(["sh", "-c", "echo 200; echo OK >&2"], 5)) == "200\nOK"


def test_a_missing_program_is_told():
    with pytest.raises(LocalError, match="`no-such-program -h` cannot be run: No such file or directory"):
        asyncio.run(run(["no-such-program", "-h"], 5))


def test_a_program_that_does_not_end_is_ended():
    before = time.monotonic()
    with pytest.raises(LocalError, match=r"`sleep 60` did not end within 0\.1 s"):
        asyncio.run(run(["sleep", "60"], 0.1))
    assert time.monotonic() - before < 10


def test_a_daemon_that_the_program_starts_is_not_waited_for():
    before = time.monotonic()
    assert asyncio.run(run(["sh", "-c", "sleep 15 & echo started"], 10)) == "started"
    assert time.monotonic() - before < 5


def test_a_long_complaint_is_cut():
    with pytest.raises(LocalError) as raised:
        asyncio.run(run(["sh", "-c", "yes | head -c 100000; exit 1"], 5))
    assert len(str(raised.value)) < 500
