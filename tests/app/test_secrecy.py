"""No secret shows: in logs, events, answers of every port, output of every command, files, processes, tracebacks."""

import http.client
import json
import os
import re
import signal
import socket
import stat
import tempfile
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from ntspool.app.adminclient import _UnixConnection
from ntspool.app.adminsocket import find_socket
from ntspool.app.cli import cli
from ntspool.net import agentstate
from ntspool.net.agentstate import Identity
from ntspool.net.mutualtls import client_context, stranger_context
from tests import secrecy
from tests.app.faulty.sitecustomize import PLACES
from tests.app.secretpool import ADDRESSES, AGENT_FAULTS, DEADLINE, FAULTS, TOKEN, SecretPool, secret_pool
from tests.processes import workers_of

COMMANDS = (
    "status",
    "backends",
    "backend show sharing",
    "backend drain sharing",
    "backend ready sharing",
    "sessions",
    "agents",
    "events",
    "probe own",
    "probe sharing",
    "keys status",
    "keys rotate",
    "keys revoke 2 --yes",
    "keys revoke 99 --yes",
    "cluster status",
    "report",
    "report --html {}/report.html",
    "report --csv -",
    "check-config {config}",
    "client-config chrony --config {config}",
    "reload",
    "reload --workers",
    "keys backup --output {}/backup",
    "keys export own",
    "agent enroll ntspool1-nonsense --gateway 127.0.0.1:1 --state {}/nobody",
    "query localhost:{ke} --ca {ca} --name localhost",
)
FORMS = {"status", "backends", "backend show sharing", "sessions", "agents", "events", "probe own", "keys status"}
PAGES = ("/", "/fragment", "/metrics", "/healthz", "/readyz", "/static/page.js", "/privkey.pem", "/%2e%2e/token")
RESOURCES = ("status", "backends", "backends/sharing", "backends/own", "sessions", "events?after=0", "keys", "nothing")
EXPECTED = {f"{owner}.{name}" for places in PLACES.values() for _, owner, name in places}


@pytest.fixture(scope="module")
def pool(tmp_path_factory, pki):
    with secret_pool(tmp_path_factory.mktemp("pool"), pki) as running:
        yield running


def test_no_secret_shows_wherever_one_looks(pool):
    for _ in range(3):
        pool.session("sharing")
        pool.session("own")
    before = set(pool.secrets())
    said = {f"ntspool {words}": _said(pool, words) for words in _every_command(pool)}
    said |= {path: _page(pool, path) for path in PAGES}
    said |= {resource: _asked(pool, "GET", resource) for resource in RESOURCES}
    # Said to the ports, and not understood: it must not come back by the log.
    _babble(pool)
    pool.session("sharing")
    secrets = pool.secrets()
    assert set(secrets) > before, "keys were rotated"
    for pid in pool.pids:
        said |= secrecy.of_process(pid)
    said["history"] = secrecy.of_database(pool.state / "history.db")
    # Those that are sealed are no exception: keyring, authority and their backup.
    said |= secrecy.of_files([pool.directory, *_shared_files(pool)], but=pool.held)
    kinds = {each.split(" ")[0] for each in secrets}
    assert kinds >= {"root", "key", "authority", "agent's", "c2s", "s2c", "cookie", "token", "TSIG", "enrolment", "own"}
    secrecy.check(secrets, said)


def test_no_secret_shows_when_all_fails_that_handles_one(pool):
    """The last one of the pool: nothing of it works afterwards."""
    (pool.directory / AGENT_FAULTS).touch()
    pool.secrets()
    _asked(pool, "POST", "keys/rotate")
    pool.processes["agent"].wait(DEADLINE)
    pool.start_agent("agent again")
    identity = agentstate.read(pool.directory / "agent")
    (pool.directory / FAULTS).touch()
    pool.session("sharing")
    pool.session("own")
    _asked(pool, "GET", "keys")
    _enrol_in_vain(pool)
    for path in ("/v1/report", "/v1/renew"):
        _on_control_port(pool, path, b"{}", identity)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client_of_time:
        client_of_time.sendto(b"\x23" + bytes(47), (ADDRESSES["sharing"], pool.ports["ntp"]))
    pool.processes["gateway"].send_signal(signal.SIGHUP)
    for pid in workers_of(pool.state):
        os.kill(pid, signal.SIGKILL)
    pool.wait("all to fail", lambda: _failed(pool.directory) >= EXPECTED)
    pool.wait("all to be logged", lambda: _told(pool) >= EXPECTED)
    secrecy.check(pool.secrets(), secrecy.of_files([pool.directory, *_shared_files(pool)], but=pool.held))


def _every_command(pool: SecretPool):
    for words in COMMANDS:
        yield words
        if words in FORMS:
            yield from (f"{words} --json", f"{words} --csv")


def _said(pool: SecretPool, words: str) -> bytes:
    """Return all that a command says to whoever runs it."""
    filled = words.format(pool.directory, config=pool.config, ke=pool.ports["ke"], ca=pool.pki.ca).split()
    if filled[0] not in {"check-config", "query", "agent", "client-config"}:
        filled += ["--config", str(pool.config)]
    result = CliRunner().invoke(cli, filled)
    assert result.exit_code in {0, 1}, (words, result.output)
    return f"{result.output}\n{result.exception!r}".encode()


def _page(pool: SecretPool, path: str) -> bytes:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{pool.ports['status']}{path}", timeout=30) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        return error.read()


def _asked(pool: SecretPool, method: str, resource: str) -> bytes:
    connection = _UnixConnection(find_socket(pool.config), 30.0)
    connection.request(method, f"/v1/{resource}")
    answer = connection.getresponse().read()
    connection.close()
    return answer


def _on_control_port(pool: SecretPool, path: str, body: bytes, identity: Identity | None = None) -> None:
    """Send a request, as the agent that has this identity if there is one."""
    context = client_context(identity.pem, identity.authority) if identity else stranger_context()
    context.check_hostname = False
    connection = http.client.HTTPSConnection("127.0.0.1", pool.ports["control"], context=context, timeout=30)
    with suppress(OSError, http.client.HTTPException):
        connection.request("POST", path, body)
        connection.getresponse().read()
    connection.close()


def _babble(pool: SecretPool) -> None:
    told = json.dumps({"token": TOKEN, "csr": "", "failure": [TOKEN], "revision": TOKEN}).encode()
    for body in (told, told[:-1], TOKEN.encode(), b"[" + told + b"]"):
        for path in ("/v1/enrol", "/v1/report", "/v1/keyring"):
            _on_control_port(pool, path, body)
    for port in ("ke", "control", "status", "own ke"):
        host = ADDRESSES["own"] if port == "own ke" else "127.0.0.1"
        with suppress(OSError), socket.create_connection((host, pool.ports[port]), 5) as peer:
            peer.sendall(TOKEN.encode() + b"\r\n\r\n")
            peer.recv(100)


def _enrol_in_vain(pool: SecretPool) -> None:
    token = pool.new_token()
    _on_control_port(pool, "/v1/enrol", json.dumps({"token": token, "csr": ""}).encode())


def _failed(directory: Path) -> set[str]:
    return {each.name.partition("fault.")[2] for each in directory.glob("*fault.*")}


def _told(pool: SecretPool) -> set[str]:
    """Return the places at which somebody failed, as their tracebacks tell."""
    text = "".join(path.read_text(errors="replace") for path in pool.directory.glob("*.log"))
    return set(re.findall(r"RuntimeError: \('on purpose at ([A-Za-z._]+)'", text))


def _shared_files(pool: SecretPool) -> list[Path]:
    """Return the files right below /tmp that were written since the pool was."""
    began, written = pool.config.stat().st_mtime, []
    for path in Path(tempfile.gettempdir()).iterdir():
        with suppress(OSError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_mtime >= began and status.st_size < 1 << 20:
                written.append(path)
    return written
