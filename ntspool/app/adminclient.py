"""A command's way to the running gateway: the admin API, by the standard library alone so that commands start fast."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from ntspool.errors import ConfigError, LocalError, RefusedError, UnreachableError

_TIMEOUT = 30.0


def call(
    path: Path, method: str, resource: str, body: dict[str, Any] | None = None, timeout: float | None = None
) -> dict[str, Any]:
    """Return the gateway's answer, an object; `path` is its admin socket, `timeout` in seconds (None: enough for most).

    Raises UnreachableError when no gateway answers there, RefusedError when it does not do what is asked for, and
    ConfigError when its configuration is wrong.
    """
    answer = _exchange(path, method, resource, body, timeout)
    if not isinstance(answer, dict):
        raise _no_gateway(path)
    return answer


def call_list(path: Path, method: str, resource: str, timeout: float | None = None) -> list[Any]:
    """Return the gateway's answer where it is a list; all else is as with `call`."""
    answer = _exchange(path, method, resource, None, timeout)
    if not isinstance(answer, list):
        raise _no_gateway(path)
    return answer


def _exchange(path: Path, method: str, resource: str, body: dict[str, Any] | None, timeout: float | None) -> object:
    connection = _UnixConnection(path, timeout or _TIMEOUT)
    try:
        connection.request(method, resource, None if body is None else json.dumps(body))
        response = connection.getresponse()
        answer = json.loads(response.read())
    except OSError as error:
        raise UnreachableError(f"no gateway answers at {path}: {error.strerror or error}") from error
    except (http.client.HTTPException, ValueError, RecursionError) as error:
        raise _no_gateway(path) from error
    finally:
        connection.close()
    match response.status, answer:
        case http.client.OK, _:
            return answer
        case http.client.CONFLICT, {"error": str(reason)}:
            raise RefusedError(reason)
        case http.client.UNPROCESSABLE_ENTITY, {"mistakes": list(mistakes)}:
            raise ConfigError([str(each) for each in mistakes])
        case _, {"error": str(reason)}:
            raise LocalError(reason)
    raise _no_gateway(path)


def _no_gateway(path: Path) -> UnreachableError:
    return UnreachableError(f"what answers at {path} is no gateway")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
