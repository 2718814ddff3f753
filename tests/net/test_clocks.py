"""The clock that nobody sets, and the kernel's receive time stamps."""

import socket
import struct
import time

import pytest

from ntspool.net import clocks
from ntspool.net.clocks import ANCILLARY_SPACE, SteadyClock, keep_stamping, received_at, stamp_datagrams
from tests.waiting import DEADLINE

STAMP = struct.Struct("@qq")


def stamped(seconds):
    return [(socket.SOL_SOCKET, 35, STAMP.pack(int(seconds), round(seconds % 1 * 1e9)))]


def test_the_steady_clock_begins_with_the_system_s_time_and_ignores_what_becomes_of_it(monkeypatch):
    steady = SteadyClock()
    before = steady()
    assert abs(before - time.time()) < 1
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert before <= steady() < before + 10


def test_the_kernel_tells_when_a_datagram_came():
    """It begins to do so a moment after it was asked to."""
    deadline = time.monotonic() + DEADLINE
    with keep_stamping(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        stamp_datagrams(udp)
        udp.bind(("127.0.0.1", 0))
        late = True
        while late and time.monotonic() < deadline:
            udp.sendto(b"x", udp.getsockname())
            sent = time.time()
            time.sleep(0.1)  # as a busy process would
            _, ancillary, *_ = udp.recvmsg(10, ANCILLARY_SPACE)
            late = received_at(ancillary, time.time) > sent
    assert not late


def test_a_machine_without_sockets_is_no_error(monkeypatch):
    def none(*_):
        raise OSError

    monkeypatch.setattr(socket, "socket", none)
    assert keep_stamping() is None


def test_a_stamp_is_told_in_the_clock_that_is_asked_for(monkeypatch):
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_500_000_000)
    assert received_at(stamped(1000.25), lambda: 77.0) == pytest.approx(76.75)


@pytest.mark.parametrize(
    "ancillary",
    [
        [],
        stamped(1001.0),
        stamped(900.0),
        [(socket.SOL_SOCKET, 35, b"short")],
        [(socket.SOL_SOCKET, 29, STAMP.pack(1000, 0))],
    ],
    ids=["none", "of the future", "long ago", "of another form", "another message"],
)
def test_without_a_stamp_that_can_be_used_it_is_now(monkeypatch, ancillary):
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_500_000_000)
    assert received_at(ancillary, lambda: 77.0) == 77.0


def test_a_system_without_stamps_is_no_error(monkeypatch):
    monkeypatch.setattr(clocks, "_SO_TIMESTAMPNS", 0x7FFF)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        stamp_datagrams(udp)
