"""The admin API on a real Unix socket: what it serves, whom it lets in, and that no garbage hurts it."""

import asyncio
import json
import os
import socket
import stat

import pytest
from aiohttp import ClientSession, UnixConnector

from ntspool.errors import ConfigError, LocalError, RefusedError, StateError
from ntspool.net.admin import AdminServer, GatewayVerbs, KeyVerbs


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

    @property
    def verbs(self):
        return KeyVerbs(self.status, self.rotate, self.revoke)

    async def reload(self):
        await self._do("reload")
        return ("listen",)

    async def replace_workers(self):
        await self._do("replace workers")

    @property
    def gateway_verbs(self):
        return GatewayVerbs(self.reload, self.replace_workers)


@pytest.fixture
def keys():
    return Verbs()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "admin.sock"


def _play(path, keys, scene):
    async def run():
        server = AdminServer(path, keys.verbs, keys.gateway_verbs)
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
    assert _ask(path, keys, "POST", "/v1/reload") == (200, {"restart": ["listen"]})
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
    assert answer == (400, {"error": 'expected {"epoch": NUMBER}'})
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
        server = AdminServer(path, keys.verbs, keys.gateway_verbs)
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
    asyncio.run(AdminServer(path, keys.verbs, keys.gateway_verbs).stop())
