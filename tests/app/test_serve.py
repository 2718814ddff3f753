"""`ntspool serve` as a process: signals, and what is left behind."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.app.pool import lay_out

DEADLINE = 20.0


@pytest.fixture
def around(tmp_path, pki):
    return lay_out(tmp_path, pki)


@contextlib.contextmanager
def _serving(around):
    """Yield a gateway process that serves; its log is in `log`."""
    log = around.directory / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "ntspool", "serve", "--config", str(around.config)], stderr=out
        )
    try:
        _wait(lambda: '"event": "serving"' in log.read_text() or process.poll() is not None)
        yield process, log
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()


def _wait(condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def _children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _alive(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_gateway_and_its_workers(around, number):
    around.configure(workers=2)
    with _serving(around) as (process, _):
        workers = _children(process.pid)
        assert len(workers) == 2
        process.send_signal(number)
        assert process.wait(DEADLINE) == 0
        assert not any(map(_alive, workers))


def test_when_the_control_process_is_killed_the_workers_end_and_the_next_gateway_can_listen(around):
    with _serving(around) as (process, _):
        workers = _children(process.pid)
        process.kill()
        process.wait()
        _wait(lambda: not any(map(_alive, workers)))
    with _serving(around) as (process, _):
        assert process.poll() is None
        assert asyncio.run(around.session())


def test_sighup_reloads(around):
    with _serving(around) as (process, log):
        around.configure(names=("ntp-1",))
        process.send_signal(signal.SIGHUP)
        _wait(lambda: '"event": "reloaded"' in log.read_text())
        assert process.poll() is None


def test_each_session_is_one_line_without_the_clients_address(around):
    with _serving(around) as (_, log):
        asyncio.run(around.session())
        _wait(lambda: '"event": "session"' in log.read_text())
        [line] = [line for line in log.read_text().splitlines() if '"event": "session"' in line]
    assert '"outcome": "refused"' in line
    assert '"reason": "no backend for IPV4 is UP and serves these AEADs"' in line
    assert "client" not in line


def test_no_secret_stands_on_a_command_line(around):
    with _serving(around) as (process, _):
        for pid in (process.pid, *_children(process.pid)):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            assert all(len(word) < 32 or "/" in word or word.startswith("ntspool.") for word in words), words


def test_the_state_is_for_nobody_else(around):
    with _serving(around):
        state = around.directory / "state"
        assert state.stat().st_mode & 0o777 == 0o700
        assert (state / "keyring").stat().st_mode & 0o777 == 0o600
