"""When memory is given back."""

import ctypes
import subprocess
import sys

import pytest

from ntspool.net.tide import EBB, REST, Tide

MANY = 4 * EBB

FLOOD = """
import os
from ntspool.net.tide import Tide
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
tide, before = Tide(), resident()
pieces = [b'%d' % number * 20000 for number in range(2000)]
tide.watch(2000, 0.0)
kept = pieces[::100]
high = resident() - before
del pieces
tide.watch(0, 1.0)
print(high, resident() - before)
"""


def watched(*sessions, spacing=REST):
    """Return which of these numbers of open sessions made it give memory back."""
    given, tide = [], Tide(lambda _: given.append(number))
    for number, each in enumerate(sessions):
        tide.watch(each, number * spacing)
    return given


def test_it_is_given_back_when_many_sessions_have_ended():
    assert watched(MANY, MANY // 2 + 1, MANY // 2, 0) == [2, 3]
    assert watched(EBB, 1, 0, 0) == [2]
    assert watched(EBB - 1, 0) == []


def test_sessions_that_come_and_go_make_it_do_so_but_now_and_then():
    assert watched(*[MANY, 0] * 10, spacing=REST / 4) == [1, 5, 9, 13, 17]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library has no malloc_trim")
def test_the_system_has_it_back():
    told = subprocess.run([sys.executable, "-c", FLOOD], capture_output=True, text=True, check=True).stdout
    high, after = map(int, told.split())
    assert high > 50
    assert after < 20
