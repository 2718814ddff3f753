"""`ntspool agent` as a process: enrolment, a life with gateways, and the chrony snippet."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from ntspool.net.daemons.embedded import Embedded
from ntspool.net.keydesk import Delivery
from ntspool.net.timeserver import TimeServer
from ntspool.pool.cookies import CookieFormat
from tests.app.test_agent import four, ids
from tests.net.controlport import control_port
from tests.systemd import Systemd
from tests.waiting import until

NTSPOOL = [sys.executable, "-m", "ntspool", "agent"]


def _run(*words):
    return subprocess.run([*NTSPOOL, *map(str, words)], capture_output=True, text=True, timeout=30, check=False)


@contextmanager
def _agent(log, *words, **more):
    with log.open("wb") as output:
        environment = {**os.environ, **more}
        process = subprocess.Popen([*NTSPOOL, *map(str, words)], stdout=output, stderr=output, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_an_agent_enrols_carries_keys_and_ends_when_told(tmp_path):
    state, log, keys = tmp_path / "agent", tmp_path / "log", tmp_path / "keys"

    async def run():
        await Embedded(keys).install(four(100), 0)
        async with (
            control_port(tmp_path) as port,
            TimeServer([("127.0.0.1", 0)], keys, 3, poll_interval=0.05) as server,
        ):
            words = ("--state", state, "enroll", port.token("ntp-1").reveal().decode(), "--gateway", port.gateway)
            enrolled = await asyncio.to_thread(_run, *words)
            assert (enrolled.returncode, enrolled.stderr) == (0, "")
            assert enrolled.stdout == f"enrolled as the agent of ntp-1; its certificate is in {state}\n"
            host, ntp_port = server.addresses[0]
            words = ("--state", state, "--ntp", f"{host}:{ntp_port}", "--key-file", keys)
            left = [state / ".identity.4194305.tmp", tmp_path / ".keys.4194305.tmp"]
            for each in left:
                each.touch()
            with (
                Systemd(str(tmp_path / "notify")) as systemd,
                _agent(log, *words, NOTIFY_SOCKET=systemd.address) as process,
            ):
                for current in (5, 6):
                    port.desk.publish({"ntp-1": Delivery(str(current), CookieFormat.NTSPOOL, four(current))})
                    await until(lambda: "ntp-1" in port.desk.reports)
                    await until(lambda current=current: port.desk.reports["ntp-1"].revision == str(current))
                    assert port.desk.reports["ntp-1"].proved == ids(four(current))
                # Of an agent that was killed as it wrote.
                assert not any(each.exists() for each in left)
                proved = f"STATUS=epochs proved: {', '.join(map(str, ids(four(6))))}"
                await until(lambda: systemd.said(proved))
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, 10) == 0
                assert systemd.heard[:2] == ["READY=1", "STATUS=waits for keys"]
                assert systemd.said("STOPPING=1") == 1

    asyncio.run(run())
    assert Embedded(keys).installed() == four(6)
    logged = log.read_text()
    assert '"event": "agent stopped"' in logged
    assert not any(key.secret.reveal().hex() in logged for key in four(6).keys)


def test_an_agent_that_nobody_enrolled_says_so(tmp_path):
    result = _run("--state", tmp_path / "agent")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("ntp", ["localhost:123", "127.0.0.1", "127.0.0.1:0x7b"])
def test_the_daemons_address_is_an_ip_literal_and_a_port(ntp):
    result = _run("--ntp", ntp)
    assert result.returncode == 2
    assert "expected for example 127.0.0.1:123" in result.stderr


def test_a_gateway_that_is_none_exits_2(tmp_path):
    result = _run("enroll", "token", "--gateway", "nonsense", "--state", tmp_path)
    assert result.returncode == 2
    assert "--gateway" in result.stderr


def test_the_chrony_snippet_is_printed_and_contradictions_told(tmp_path):
    conf = tmp_path / "chrony.conf"
    conf.write_text("port 0\nallow\n")
    result = _run("chrony-config", "--chrony-conf", conf, "--ntsdumpdir", "/keys", "--ntsport", "14460")
    assert result.returncode == 0
    assert "\nntsdumpdir /keys\nntsrotate 0\n" in result.stdout
    assert "\nntsport 14460\n" in result.stdout
    assert f"{conf}:1: port 0: chronyd serves no time" in result.stderr.splitlines()


def test_the_chrony_snippet_is_written_and_exits_1_while_anything_contradicts_it(tmp_path):
    conf, snippet = tmp_path / "chrony.conf", tmp_path / "ntspool.conf"
    conf.write_text(f"include {snippet}\nallow\nntsrotate 600\n")
    words = ("chrony-config", "--write", "--chrony-conf", conf, "--snippet", snippet, "--ntsdumpdir", tmp_path)
    result = _run(*words)
    assert (result.returncode, result.stdout) == (1, f"{snippet} written; restart chronyd to have it obeyed\n")
    assert result.stderr.startswith(f"{conf}:3: ntsrotate 600: ")
    conf.write_text(f"include {snippet}\nallow\n")
    result = _run(*words)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{snippet} is as it must be\n", "")
    assert sorted(os.listdir(tmp_path)) == ["chrony.conf", "ntspool.conf", "ntspool.crt", "ntspool.key"]


def test_a_foreign_snippet_exits_1(tmp_path):
    snippet = tmp_path / "ntspool.conf"
    snippet.write_text("mine\n")
    result = _run("chrony-config", "--write", "--snippet", snippet, "--ntsdumpdir", tmp_path)
    assert result.returncode == 1
    assert "was not written by ntspool and stays as it is" in result.stderr
