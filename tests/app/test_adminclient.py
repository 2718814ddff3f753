"""A command's way to the gateway: what it makes of answers, and of whoever else answers there."""

import asyncio
import socket
import threading
from contextlib import contextmanager

import pytest

from ntspool.app import adminclient
from ntspool.app.adminclient import call
from ntspool.errors import ConfigError, LocalError, RefusedError, StateError, UnreachableError
from ntspool.net.admin import AdminPlaces, AdminServer
from ntspool.net.adminroutes import BackendVerbs, GatewayVerbs, KeyVerbs, Routes
from ntspool.pool.view import ReloadView


@pytest.fixture
def path(tmp_path):
    return tmp_path / "admin.sock"


@contextmanager
def _answering(path, answer):
    """Answer one connection with the given bytes."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def serve():
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            thread.join()


def _http(body, status=b"200 OK"):
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def _against_a_gateway(path, routes, *words):
    async def run():
        server = AdminServer(AdminPlaces(path), routes)
        await server.start()
        try:
            return await asyncio.to_thread(call, path, *words)
        finally:
            await server.stop()

    return asyncio.run(run())


def _verbs(failure=None):
    asked = []

    async def rotate():
        await revoke("rotate")

    async def revoke(epoch):
        if failure:
            raise failure
        asked.append(epoch)

    async def reload():
        await revoke("reload")
        return ReloadView((), ())

    async def replace_workers():
        await revoke("replace")

    return Routes(
        KeyVerbs(lambda: {"asked": asked}, rotate, revoke),
        BackendVerbs(None, None, None),
        GatewayVerbs(None, None, None, reload, replace_workers),
    )


def test_a_gateway_answers(path):
    assert _against_a_gateway(path, _verbs(), "GET", "/v1/keys") == {"asked": []}
    assert _against_a_gateway(path, _verbs(), "POST", "/v1/keys/rotate") == {"asked": ["rotate"]}
    assert _against_a_gateway(path, _verbs(), "POST", "/v1/keys/revoke", {"epoch": 7}) == {"asked": [7]}


def test_a_refusal_is_told_in_the_gateways_words(path):
    with pytest.raises(RefusedError, match="ntp-1 waits"):
        _against_a_gateway(path, _verbs(RefusedError("ntp-1 waits")), "POST", "/v1/keys/rotate")


def test_the_mistakes_of_a_configuration_are_told(path):
    with pytest.raises(ConfigError) as failure:
        _against_a_gateway(path, _verbs(ConfigError(["a:1: one", "a:2: two"])), "POST", "/v1/reload")
    assert failure.value.mistakes == ("a:1: one", "a:2: two")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("POST", "/v1/keys/rotate"), "the disk is full"),
        (("POST", "/v1/keys/revoke", {"epoch": "seven"}), "epoch: expected a whole number"),
    ],
)
def test_another_failure_is_no_refusal(path, words, reason):
    with pytest.raises(LocalError) as failure:
        _against_a_gateway(path, _verbs(StateError("the disk is full")), *words)
    assert type(failure.value) is LocalError
    assert str(failure.value) == reason


def test_nobody_there(path):
    with pytest.raises(UnreachableError, match=r"no gateway answers at .*admin\.sock: No such file or directory"):
        call(path, "GET", "/v1/keys")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(UnreachableError, match="Connection refused"):
        call(path, "GET", "/v1/keys")


def test_who_asks_may_wait_longer(path, monkeypatch):
    monkeypatch.setattr(adminclient, "_TIMEOUT", 0.000001)
    assert _against_a_gateway(path, _verbs(), "POST", "/v1/workers/replace", None, 20) == {}


def test_a_path_that_is_too_long(tmp_path):
    with pytest.raises(UnreachableError, match="path too long"):
        call(tmp_path / ("x" * 200), "GET", "/v1/keys")


def test_a_gateway_that_hangs(path, monkeypatch):
    monkeypatch.setattr(adminclient, "_TIMEOUT", 0.05)
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(path))
        hanging.listen()
        with pytest.raises(UnreachableError, match="timed out"):
            call(path, "GET", "/v1/keys")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"220 mail.example ESMTP\r\n", id="no HTTP"),
        pytest.param(_http(b"<html>"), id="no JSON"),
        pytest.param(_http(b"\xff\xff"), id="no text"),
        pytest.param(_http(b'{"epo')[:-2], id="cut"),
        pytest.param(_http(b"[1]"), id="JSON, but a list"),
        pytest.param(_http(b"{}", b"404 Not Found"), id="an error without words"),
        pytest.param(_http(b'["error"]', b"409 Conflict"), id="a refusal without words"),
        pytest.param(_http(b'{"mistakes": 7}', b"422 Unprocessable Entity"), id="mistakes that are a number"),
        pytest.param(_http(b'{"error": 7}', b"409 Conflict"), id="a refusal whose words are a number"),
    ],
)
def test_who_answers_is_no_gateway(path, answer):
    with _answering(path, answer), pytest.raises(UnreachableError, match="no gateway"):
        call(path, "GET", "/v1/keys")
