"""`ntspool check` as its users run it: a process of its own, on a terminal or not, of services that answer."""

import os
import pty
import re
import subprocess
import sys

import pytest

from tests.app.pool import run_ntspool
from tests.net.exam.deviations import DEVIATIONS
from tests.net.exam.service import HOST, Service, serving

ILL = DEVIATIONS["an unknown critical record in the answer"].service


def words(pki, port):
    return ("check", f"{HOST}:{port}", f"--ca={pki.ca}", "--slots=0", "--sessions=6", "--rate=100", "--quick", "-4")


def checked(service, pki, *more):
    """Run the command on a service."""
    with serving(service, pki.certificate) as port:
        return run_ntspool(*words(pki, port), *more)


def test_a_service_that_is_well(pki):
    done = checked(Service(), pki)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^  0 FAIL, \d+ NOTE, \d+ PASS$", done.stdout, re.MULTILINE)
    assert done.stderr.startswith("up to ")
    assert "\x1b" not in done.stdout + done.stderr


def test_a_service_that_is_not(pki):
    done = checked(ILL, pki, "-q")
    assert done.returncode == 1
    assert f"\n  FAIL  ke.strange-records ({HOST}): " in done.stdout
    assert " PASS  " not in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("service", "code", "said"),
    [(Service(), 0, f"NTS OK - {HOST}: 3 servers; "), (ILL, 2, f"NTS CRITICAL - {HOST}: ")],
)
def test_a_monitor(pki, service, code, said):
    done = checked(service, pki, "--nagios", "--days-left", "0.5", "0.1")
    assert (done.returncode, done.stderr) == (code, ""), done.stdout
    assert done.stdout.startswith(said)
    assert done.stdout.count("\n") == 1


def test_a_monitor_whose_authorities_are_missing(pki, tmp_path):
    done = checked(Service(), pki, "--nagios", f"--ca={tmp_path}/none.pem")
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.startswith("NTS UNKNOWN - ")


@pytest.mark.parametrize("place", [f"{HOST}:9", "nowhere.invalid"])
def test_nobody_there(place):
    done = run_ntspool("check", place, "-q", "--timeout=1", "--dns=127.0.0.1:9")
    assert done.returncode == 3, done.stderr
    assert "  FAIL  " in done.stdout


def test_a_terminal(pki):
    ours, theirs = pty.openpty()
    with serving(Service(), pki.certificate) as port:
        command = [sys.executable, "-m", "ntspool", *words(pki, port)]
        environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "", "COLUMNS": "80"}
        with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
            os.close(theirs)
            said = _all(ours)
            assert process.wait() == 0
    progress, _, shown = said.partition("\x1b[1m")
    assert "[" in progress
    assert f"asking {HOST} at {HOST} for cookies" in progress
    assert "\x1b[32mPASS\x1b[0m" in shown
    lines = re.sub(r"\x1b\[\d*m", "", shown).split("\r\n")
    assert max(len(line) for line in lines if line.startswith(("  PASS", "        "))) <= 80


def _all(terminal):
    """Return what is printed until the other end is closed."""
    said = b""
    try:
        while data := os.read(terminal, 65536):
            said += data
    except OSError:
        pass
    os.close(terminal)
    return said.decode()
