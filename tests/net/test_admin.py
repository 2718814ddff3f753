"""The admin API on a real Unix socket: what it serves, whom it lets in, and that no garbage hurts it."""

import asyncio
import json
import os
import socket
import stat

import pytest
from aiohttp import ClientSession, UnixConnector

from ntspool.errors import ConfigError, LocalError, RefusedError, StateError
from ntspool.net.admin import AdminPlaces, AdminServer
from ntspool.net.adminroutes import BackendVerbs, GatewayVerbs, KeyVerbs, Routes, unknown_backend
from ntspool.pool.view import ChangeView, EventView, ProbeView, ReloadView
from tests.interop.lab import free_port
from tests.pool.views import a_backend, a_gateway


class Verbs:
    """Verbs that note what they are asked for, and fail as they are told."""

    def __init__(self):
        self.done = []
        self.failure = None

    async def rotate(self):
        await self._do("rotate")

    async def revoke(self, epoch):
        await self._do(epoch)

    async def _do(self, what):
        if self.failure:
            raise self.failure
        self.done.append(what)

    def status(self):
        return {"done": self.done}

    async def reload(self):
        await self._do("reload")
        return ReloadView((ChangeView("workers", "1", "2"),), ("listen",))

    async def replace_workers(self):
        await self._do("replace workers")

    async def move(self, name, mode):
        self._known(name)
        await self._do((name, str(mode)))

    async def weigh(self, name, weight):
        self._known(name)
        await self._do((name, weight))

    async def probe(self, name):
        self._known(name)
        await self._do((name, "probe"))
        return [ProbeView("192.0.2.1", 123, sent=True, good=True)]

    def _known(self, name):
        if name != "ntp-1":
            raise unknown_backend(name, ["ntp-1"])

    def view(self):
        return a_gateway(backends=(a_backend("ntp-1"),))

    async def events(self, after, wait):
        self.done.append((after, wait))
        return [EventView(after + 1, 2.0, "panic", "error", "IPv4", "", "off", "on")]

    @property
    def routes(self):
        return Routes(
            KeyVerbs(self.status, self.rotate, self.revoke),
            BackendVerbs(self.move, self.weigh, self.probe),
            GatewayVerbs(self.view, lambda: self.view().sessions, self.events, self.reload, self.replace_workers),
        )


@pytest.fixture
def keys():
    return Verbs()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "admin.sock"


def _play(path, keys, scene):
    async def run():
        server = AdminServer(AdminPlaces(path), keys.routes)
        await server.start()
        try:
            return await scene()
        finally:
            await server.stop()

    return asyncio.run(run())


async def _request(path, method, resource, **body):
    """Return status and body of one answer."""
    async with (
        ClientSession(connector=UnixConnector(str(path))) as session,
        session.request(method, f"http://localhost{resource}", **body) as response,
    ):
        return response.status, await response.text()


def _ask(path, keys, method, resource, **body):
    """Return status and JSON of one request."""
    status, text = _play(path, keys, lambda: _request(path, method, resource, **body))
    return status, json.loads(text)


def test_status_rotation_and_revocation(path, keys):
    assert _ask(path, keys, "GET", "/v1/keys") == (200, {"done": []})
    assert _ask(path, keys, "POST", "/v1/keys/rotate") == (200, {"done": ["rotate"]})
    assert _ask(path, keys, "POST", "/v1/keys/revoke", json={"epoch": 3}) == (200, {"done": ["rotate", 3]})


def test_reload_tells_what_needs_a_restart_and_workers_are_replaced(path, keys):
    changes = [{"key": "workers", "before": "1", "after": "2"}]
    assert _ask(path, keys, "POST", "/v1/reload") == (200, {"restart": ["listen"], "changes": changes})
    assert _ask(path, keys, "POST", "/v1/workers/replace") == (200, {})
    assert keys.done == ["reload", "replace workers"]


def test_every_mistake_of_a_configuration_is_told(path, keys):
    keys.failure = ConfigError(["backends.yaml:1: one", "backends.yaml:2: two"])
    status, told = _ask(path, keys, "POST", "/v1/reload")
    assert status == 422
    assert told["mistakes"] == ["backends.yaml:1: one", "backends.yaml:2: two"]


@pytest.mark.parametrize(
    ("failure", "status"),
    [(RefusedError("not rotated: ntp-1 waits"), 409), (StateError("the disk is full"), 500)],
)
@pytest.mark.parametrize(
    ("resource", "body"),
    [
        ("/v1/keys/rotate", {}),
        ("/v1/keys/revoke", {"json": {"epoch": 3}}),
        ("/v1/reload", {}),
        ("/v1/workers/replace", {}),
        ("/v1/backends/ntp-1/drain", {}),
        ("/v1/backends/ntp-1/maint", {"json": {}}),
        ("/v1/backends/ntp-1/ready", {}),
        ("/v1/backends/ntp-1/weight", {"json": {"weight": 5}}),
        ("/v1/backends/ntp-1/probe", {}),
    ],
)
def test_what_goes_wrong_is_told(path, keys, failure, status, resource, body):
    keys.failure = failure
    assert _ask(path, keys, "POST", resource, **body) == (status, {"error": str(failure)})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"rubbish",
        b"\xff\xfe\xfd",
        b"{",
        b"[" * 60_000,
        b"9" * 5000,
        b"null",
        b"[3]",
        b"3",
        b"{}",
        b'{"epoch": null}',
        b'{"epoch": "3"}',
        b'{"epoch": 3.0}',
        b'{"epoch": true}',
        b'{"epoch": [3]}',
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "text/plain; charset=nonsense"])
def test_garbage_is_refused_and_changes_nothing(path, keys, body, content_type):
    answer = _ask(path, keys, "POST", "/v1/keys/revoke", data=body, headers={"Content-Type": content_type})
    assert answer[0] == 400
    assert "expected" in answer[1]["error"]
    assert "a whole number" in answer[1]["error"]
    assert keys.done == []


def test_a_giant_body_is_not_read(path, keys):
    answer = _play(path, keys, lambda: _request(path, "POST", "/v1/keys/revoke", data=b" " * 100_000))
    assert answer[0] == 413


@pytest.mark.parametrize(
    ("method", "resource", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/keys/rotate", 405),
        ("GET", "/v1/keys/revoke", 405),
        ("POST", "/v1/keys", 405),
        ("GET", "/v1/reload", 405),
        ("GET", "/v1/workers/replace", 405),
        ("GET", "/v1/backends/ntp-1/drain", 405),
        ("POST", "/v1/backends/ntp-1", 405),
        ("POST", "/v1/backends/ntp-1/explode", 404),
        ("POST", "/v1/status", 405),
    ],
)
def test_nothing_else_is_served(path, keys, method, resource, status):
    assert _play(path, keys, lambda: _request(path, method, resource))[0] == status
    assert keys.done == []


def test_what_is_no_http_is_cut_off_and_the_next_is_served(path, keys):
    async def scene():
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"\x16\x03\x01\x02\x00rubbish\r\n\r\n")
        refusal = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return refusal, await _request(path, "GET", "/v1/keys")

    refusal, answer = _play(path, keys, scene)
    assert refusal.startswith(b"HTTP/1.0 400 ")
    assert answer[0] == 200


# Backends, sessions, events.


def test_the_whole_view_and_its_parts(path, keys):
    whole = _ask(path, keys, "GET", "/v1/status")[1]
    assert whole["backends"][0]["name"] == "ntp-1"
    assert _ask(path, keys, "GET", "/v1/backends")[1] == whole["backends"]
    assert _ask(path, keys, "GET", "/v1/backends/ntp-1")[1] == whole["backends"][0]
    assert _ask(path, keys, "GET", "/v1/sessions")[1] == whole["sessions"]


def test_backends_are_moved_weighed_and_probed(path, keys):
    for mode in ("drain", "maint", "ready"):
        status, answer = _ask(path, keys, "POST", f"/v1/backends/ntp-1/{mode}")
        assert (status, answer["name"]) == (200, "ntp-1")
    assert _ask(path, keys, "POST", "/v1/backends/ntp-1/weight", json={"weight": 0})[0] == 200
    assert _ask(path, keys, "POST", "/v1/backends/ntp-1/weight", json={"weight": None})[0] == 200
    [probed] = _ask(path, keys, "POST", "/v1/backends/ntp-1/probe")[1]
    assert (probed["address"], probed["good"]) == ("192.0.2.1", True)
    moves = [("ntp-1", mode) for mode in ("drain", "maint", "ready")]
    assert keys.done == [*moves, ("ntp-1", 0), ("ntp-1", None), ("ntp-1", "probe")]


@pytest.mark.parametrize("resource", ["", "/drain", "/maint", "/ready", "/probe", "/weight"])
def test_a_backend_that_there_is_not(path, keys, resource):
    body = {"json": {"weight": 1}} if resource == "/weight" else {}
    answer = _ask(path, keys, "POST" if resource else "GET", f"/v1/backends/ntp-9{resource}", **body)
    assert answer == (404, {"error": "there is no backend 'ntp-9'; there are ntp-1"})
    assert keys.done == []


@pytest.mark.parametrize("weight", [-1, 257, 1.5, True, "10", [], {}, 10**400])
def test_a_weight_that_is_none(path, keys, weight):
    answer = _ask(path, keys, "POST", "/v1/backends/ntp-1/weight", json={"weight": weight})
    assert answer == (400, {"error": "weight: expected a whole number from 0 to 256, or null"})
    assert keys.done == []


@pytest.mark.parametrize(
    ("resource", "body", "words"),
    [
        ("/v1/backends/ntp-1/weight", {"weight": 1, "wieght": 2}, "wieght: unknown key; expected"),
        ("/v1/backends/ntp-1/weight", {}, "weight: missing; expected"),
        ("/v1/backends/ntp-1/drain", {"for": "1h"}, "for: unknown key; expected {}"),
        ("/v1/reload", {"path": "/etc"}, "path: unknown key; expected {}"),
        ("/v1/keys/rotate", [], "no JSON object; expected {}"),
    ],
)
def test_a_body_that_is_not_what_it_must_be(path, keys, resource, body, words):
    status, answer = _ask(path, keys, "POST", resource, json=body)
    assert status == 400
    assert words in answer["error"]
    assert keys.done == []


def test_events(path, keys):
    assert _ask(path, keys, "GET", "/v1/events?after=7&wait=2.5")[1][0]["number"] == 8
    assert _ask(path, keys, "GET", "/v1/events")[1][0]["number"] == 1
    assert _ask(path, keys, "GET", "/v1/events?wait=1e9")[0] == 200
    assert keys.done == [(7, 2.5), (0, 0.0), (0, 60.0)]


@pytest.mark.parametrize("query", ["after=x", "after=1.5", "wait=soon", "wait=nan", "wait=inf", "since=3"])
def test_a_question_for_events_that_is_none(path, keys, query):
    status, answer = _ask(path, keys, "GET", f"/v1/events?{query}")
    assert status == 400
    assert "expected" in answer["error"]
    assert keys.done == []


# On TCP.


def test_over_tcp_everybody_may_read_and_nobody_act(path, keys):
    port = free_port("127.0.0.1")

    async def scene():
        asked = {}
        async with ClientSession() as session:
            for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
                for resource in ("/v1/status", "/v1/reload", "/v1/backends/ntp-1/drain", "/v1/nothing"):
                    async with session.request(method, f"http://127.0.0.1:{port}{resource}") as response:
                        asked[method, resource] = response.status
        return asked

    async def run():
        server = AdminServer(AdminPlaces(path, listen=[("127.0.0.1", port)]), keys.routes)
        await server.start()
        try:
            return await scene()
        finally:
            await server.stop()

    asked = asyncio.run(run())
    assert asked["GET", "/v1/status"] == asked["HEAD", "/v1/status"] == 200
    assert asked["GET", "/v1/nothing"] == asked["GET", "/v1/reload"] == 404
    assert {status for (method, _), status in asked.items() if method not in ("GET", "HEAD")} == {405}
    assert keys.done == []


def test_a_busy_port_is_told_and_the_socket_goes(path, keys):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        server = AdminServer(AdminPlaces(path, listen=[("127.0.0.1", port)]), keys.routes)
        with pytest.raises(LocalError, match=rf"cannot listen on 127\.0\.0\.1 port {port}: "):
            asyncio.run(server.start())
    assert not path.exists()


# The group.


def test_the_socket_is_given_to_a_group(path, keys):
    gid = os.getgroups()[-1] if os.getgroups() else os.getgid()

    async def run():
        server = AdminServer(AdminPlaces(path, str(gid)), keys.routes)
        await server.start()
        try:
            return path.stat()
        finally:
            await server.stop()

    found = asyncio.run(run())
    assert (found.st_gid, stat.S_IMODE(found.st_mode)) == (gid, 0o660)


def test_a_group_that_there_is_not(path, keys):
    server = AdminServer(AdminPlaces(path, "no-such-group"), keys.routes)
    with pytest.raises(LocalError, match=r"admin\.group: this system has no group no-such-group"):
        asyncio.run(server.start())
    assert not path.exists()


def test_a_group_that_this_user_may_not_give_it_to(path, keys, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    server = AdminServer(AdminPlaces(path, "0"), keys.routes)
    with pytest.raises(
        LocalError, match=r"cannot give .*admin\.sock to group 0: Operation not permitted; ntspool's user"
    ):
        asyncio.run(server.start())
    assert not path.exists()


# The socket.


def test_owner_and_group_get_in_and_nobody_else_and_at_the_end_it_is_gone(path, keys):
    async def scene():
        return path.stat().st_mode

    before = os.umask(0)
    try:
        mode = _play(path, keys, scene)
    finally:
        os.umask(before)
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660
    assert not path.exists()


def test_a_socket_that_a_dead_gateway_left_is_replaced(path, keys):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert path.is_socket()
    assert _ask(path, keys, "GET", "/v1/keys")[0] == 200


def test_a_file_is_not_replaced(path, keys):
    path.write_text("precious")

    async def run():
        server = AdminServer(AdminPlaces(path), keys.routes)
        with pytest.raises(LocalError, match=r"cannot listen on .*admin\.sock: .*in use"):
            await server.start()
        await server.stop()

    asyncio.run(run())
    assert path.read_text() == "precious"


@pytest.mark.parametrize("name", ["missing/admin.sock", "x" * 200])
def test_a_path_that_cannot_be_used_is_told(tmp_path, keys, name):
    with pytest.raises(LocalError, match="cannot listen on "):
        _ask(tmp_path / name, keys, "GET", "/v1/keys")


def test_stopping_what_never_started_does_nothing(path, keys):
    asyncio.run(AdminServer(AdminPlaces(path), keys.routes).stop())
