"""What systemd is told, and what it passes: without a systemd, by its own conventions."""

import asyncio
import json
import os
import socket
import sys

import pytest
from structlog.testing import capture_logs

from ntspool.errors import LocalError
from ntspool.net.system import listen
from ntspool.net.systemd import Service, credential
from tests.systemd import Systemd, start
from tests.waiting import until


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path):
    address = str(tmp_path / "notify") if request.param == "path" else f"@ntspool-test-{os.getpid()}"
    with Systemd(address) as systemd:
        yield systemd


def test_each_message_is_one_datagram_of_assignments(systemd):
    environment = {"NOTIFY_SOCKET": systemd.address, "HOME": "/"}
    service = Service(environment)
    service.ready("2 of 3 backends UP")
    with service.reloading():
        pass
    service.stopping()
    heard = [each.partition("=") for each in systemd.heard]
    names = ["READY", "STATUS", "RELOADING", "MONOTONIC_USEC", "READY", "STOPPING", "STATUS"]
    assert [name for name, _, _ in heard] == names
    assert heard[1][2] == "2 of 3 backends UP"
    assert heard[3][2].isdecimal()
    # A child is not the service.
    assert environment == {"HOME": "/"}


def test_a_status_of_several_lines_tells_nothing_else(systemd):
    Service({"NOTIFY_SOCKET": systemd.address}).ready("chronyd said\nSTOPPING=1")
    assert systemd.heard == ["READY=1", "STATUS=chronyd said STOPPING=1"]


def test_a_reload_that_fails_ends_as_well(systemd):
    service = Service({"NOTIFY_SOCKET": systemd.address})
    with pytest.raises(LocalError), service.reloading():
        raise LocalError("a mistake")
    assert systemd.heard[-1] == "READY=1"


def test_the_watchdog_hears_of_a_loop_that_turns_and_status_is_told_when_it_is_new(systemd):
    service = Service({"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(os.getpid())})

    async def run():
        status = ["one"]
        telling = asyncio.create_task(service.keep_telling(lambda: status[0]))
        await until(lambda: systemd.said("WATCHDOG=1") >= 3)
        status[0] = "two"
        await until(lambda: systemd.said("STATUS=two"))
        seen = systemd.said("WATCHDOG=1")
        await until(lambda: systemd.said("WATCHDOG=1") > seen)
        telling.cancel()

    asyncio.run(run())
    assert systemd.said("STATUS=one") == systemd.said("STATUS=two") == 1


def test_a_watchdog_for_another_process_is_not_ours(systemd):
    service = Service({"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"})

    async def run():
        telling = asyncio.create_task(service.keep_telling(lambda: "one"))
        await until(lambda: systemd.said("STATUS=one"))
        await asyncio.sleep(0.05)
        telling.cancel()

    asyncio.run(run())
    assert not systemd.said("WATCHDOG=1")


def test_without_systemd_nothing_is_told_and_nothing_fails(tmp_path):
    service = Service({})
    service.ready("nobody hears")
    asyncio.run(service.keep_telling(lambda: "nobody hears"))
    assert service.listening([("127.0.0.1", 4460)]) == {}
    with capture_logs() as logs:
        Service({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("nobody hears")
    assert logs[0]["reason"] == "No such file or directory"


ADOPT = """
import json, os, sys
from structlog.testing import capture_logs
from ntspool.net.systemd import Service
with capture_logs() as logs:
    opened = Service(os.environ).listening([tuple(each) for each in json.loads(sys.argv[1])])
print(json.dumps([sorted(opened), [[each["event"], each["address"], each["port"]] for each in logs]]))
"""


def adopt(sockets, wanted, **environment):
    """Have `sockets` adopted by a process of their own, to which they are 3 and up; return what it says."""
    with start([sys.executable, "-c", ADOPT, json.dumps(wanted)], sockets, **environment) as process:
        told, failed = process.communicate(timeout=20)
    return json.loads(told) if told else failed.splitlines()[-1]


def test_sockets_are_known_by_where_they_listen_and_what_is_amiss_is_told():
    with listen("127.0.0.1", 0) as one, listen("::1", 0) as other:
        here, there = one.getsockname()[:2], other.getsockname()[:2]
        missing = ("127.0.0.1", 9)
        opened, told = adopt([one, other], [here, missing])
        assert opened == sorted([[*here], [*there]])
        assert told == [
            ["systemd listens where `listen` does not; clients who come here wait in vain", *there],
            ["systemd does not listen here, so a restart of the gateway leaves a gap", *missing],
        ]


def test_sockets_for_another_process_are_left_alone():
    with listen("127.0.0.1", 0) as one:
        assert adopt([one], [one.getsockname()[:2]], LISTEN_PID="1") == [[], []]


def test_what_is_no_listening_socket_is_refused_by_its_name():
    with socket.socket() as idle:
        told = adopt([idle], [], LISTEN_FDNAMES="ntspool.socket")
    assert (
        told
        == "ntspool.errors.LocalError: systemd passed descriptor 3 (ntspool.socket), which is no listening TCP socket"
    )


def test_a_socket_for_both_families_is_refused_with_the_line_that_is_missing():
    with socket.socket(socket.AF_INET6) as both:
        both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        both.bind(("::", 0))
        both.listen()
        told = adopt([both], [], LISTEN_FDNAMES="ntspool.socket")
    assert told.startswith("ntspool.errors.LocalError: systemd's socket ntspool.socket takes IPv4 and IPv6")
    assert "BindIPv6Only=ipv6-only" in told


def test_credentials_are_found_where_systemd_says(tmp_path, monkeypatch):
    monkeypatch.setattr("ntspool.net.systemd.UNIT_CREDENTIALS", tmp_path / "unit")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(LookupError, match="CREDENTIALS_DIRECTORY is not set"):
        credential("key.pem")
    (tmp_path / "unit").mkdir()
    assert credential("key.pem") == tmp_path / "unit/key.pem"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "here"))
    assert credential("key.pem") == tmp_path / "here/key.pem"
