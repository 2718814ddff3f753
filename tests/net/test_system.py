"""Logs and listening sockets."""

import json
import os
import socket

import pytest
import structlog

from ntspool.net.system import listen, set_up_logs
from ntspool.pool.model import LogSettings


@pytest.fixture(autouse=True)
def _restore_structlog():
    yield
    structlog.reset_defaults()


def _fail_with_a_secret() -> None:
    secret = "c2s-key-in-a-local-variable"
    raise RuntimeError(f"a bug of {len(secret)}")


@pytest.mark.parametrize("form", ["json", "console"])
def test_tracebacks_tell_no_local_variables(capfd, form):
    set_up_logs(LogSettings(format=form))
    try:
        _fail_with_a_secret()
    except RuntimeError:
        structlog.get_logger().exception("answering failed")
    logged = capfd.readouterr().err
    assert "a bug of 27" in logged
    assert "_fail_with_a_secret" in logged
    # The source line of `secret = ...` is not among the frames that raised.
    assert "c2s-key-in-a-local-variable" not in logged


def test_json_is_one_object_a_line(capfd):
    set_up_logs(LogSettings(level="info", format="auto"))
    log = structlog.get_logger()
    log.debug("unheard")
    log.info("session", outcome="ok", ms=1.5)
    [line] = capfd.readouterr().err.splitlines()
    entry = json.loads(line)
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {"event": "session", "level": "info", "outcome": "ok", "ms": 1.5}


def test_the_level_can_be_changed_while_running(capfd):
    log = structlog.get_logger()
    set_up_logs(LogSettings(level="error", format="json"))
    log.warning("unheard")
    set_up_logs(LogSettings(level="debug", format="json"))
    log.debug("heard")
    [line] = capfd.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "heard"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_sockets_of_both_families_can_share_a_port(host):
    with listen(host, 0) as listening:
        assert listening.getsockname()[0] == host
        assert not listening.getblocking()
        if host == "::1":
            assert listening.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


def test_wildcards_of_both_families_stand_beside_each_other():
    with listen("127.0.0.1", 0) as first, listen("::1", first.getsockname()[1]) as second:
        assert first.getsockname()[1] == second.getsockname()[1]


def test_a_busy_port_raises():
    with listen("127.0.0.1", 0) as first, pytest.raises(OSError, match="Address already in use"):
        listen("127.0.0.1", first.getsockname()[1])


def test_a_line_that_is_not_taken_is_counted_and_told_later(capfd):
    set_up_logs(LogSettings(level="info", format="json"))
    log = structlog.get_logger()
    kept = os.dup(2)
    try:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, 2)
        os.close(full)
        log.info("lost")
        log.error("lost")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    log.info("session")
    first, second = (json.loads(line) for line in capfd.readouterr().err.splitlines())
    assert (first["event"], first["lines"]) == ("log lines lost", 2)
    assert second["event"] == "session"
