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
from tests.processes import end_workers, workers_of

DEADLINE = 60.0


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
        end_workers(around.state)


def _wait(condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_gateway_and_its_workers(around, number):
    around.configure(workers=2)
    with _serving(around) as (process, _):
        assert len(workers_of(around.state)) == 2
        process.send_signal(number)
        assert process.wait(DEADLINE) == 0
        assert not workers_of(around.state)


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
        for pid in (process.pid, *workers_of(around.state)):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            assert all(len(word) < 32 or "/" in word or word.startswith("ntspool.") for word in words), words


def test_the_state_is_for_nobody_else(around):
    with _serving(around):
        state = around.state
        assert state.stat().st_mode & 0o777 == 0o700
        for name in ("keyring", "handover.sock", "control.lock", "workers.lock"):
            assert (state / name).stat().st_mode & 0o777 == 0o600
