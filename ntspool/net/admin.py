"""The admin API: JSON over HTTP on a Unix socket, which every command that acts on a running gateway goes through."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from ntspool.errors import ConfigError, LocalError, RefusedError

_MODE = 0o660
_MAX_BODY = 65536


@dataclass(frozen=True, slots=True)
class KeyVerbs:
    """What the API can do with keys; `rotate` and `revoke` raise RefusedError when they must not."""

    status: Callable[[], dict[str, Any]]
    rotate: Callable[[], Awaitable[None]]
    revoke: Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class GatewayVerbs:
    """What the API can do with the gateway as a whole; both raise LocalError when it fails.

    `reload` returns the keys of the configuration whose change needs a restart.
    """

    reload: Callable[[], Awaitable[Sequence[str]]]
    replace_workers: Callable[[], Awaitable[None]]


class AdminServer:
    """Serves the API at `path`, for its owner and group; a socket that a dead gateway left there is replaced.

    `start` raises LocalError when the path cannot be used.
    """

    def __init__(self, path: Path, keys: KeyVerbs, gateway: GatewayVerbs) -> None:
        self._path = path
        self._keys = keys
        self._gateway = gateway
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Begin to serve."""
        app = web.Application(client_max_size=_MAX_BODY, middlewares=[_errors])
        app.add_routes(
            [
                web.get("/v1/keys", self._status),
                web.post("/v1/keys/rotate", self._rotate),
                web.post("/v1/keys/revoke", self._revoke),
                web.post("/v1/reload", self._reload),
                web.post("/v1/workers/replace", self._replace_workers),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.UnixSite(self._runner, str(self._path)).start()
            self._path.chmod(_MODE)
        except OSError as error:
            await self._runner.cleanup()
            self._runner = None
            raise LocalError(f"cannot listen on {self._path}: {error.strerror or error}") from error

    async def stop(self) -> None:
        """End serving, and take the socket away."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._path.unlink(missing_ok=True)

    async def _status(self, _request: web.Request) -> web.Response:
        return web.json_response(self._keys.status())

    async def _rotate(self, _request: web.Request) -> web.Response:
        await self._keys.rotate()
        return web.json_response(self._keys.status())

    async def _revoke(self, request: web.Request) -> web.Response:
        epoch = _epoch(await request.read())
        if epoch is None:
            return web.json_response({"error": 'expected {"epoch": NUMBER}'}, status=400)
        await self._keys.revoke(epoch)
        return web.json_response(self._keys.status())

    async def _reload(self, _request: web.Request) -> web.Response:
        return web.json_response({"restart": list(await self._gateway.reload())})

    async def _replace_workers(self, _request: web.Request) -> web.Response:
        await self._gateway.replace_workers()
        return web.json_response({})


def _epoch(body: bytes) -> int | None:
    try:
        match json.loads(body):
            case {"epoch": int(epoch)} if not isinstance(epoch, bool):
                return epoch
    except (ValueError, RecursionError):
        pass
    return None


@web.middleware
async def _errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except RefusedError as error:
        return web.json_response({"error": str(error)}, status=409)
    except ConfigError as error:
        return web.json_response({"error": str(error), "mistakes": list(error.mistakes)}, status=422)
    except LocalError as error:
        return web.json_response({"error": str(error)}, status=500)
