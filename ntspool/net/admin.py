"""The admin API: JSON over HTTP on a Unix socket, which every command that acts on a running gateway goes through."""

import grp
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Middleware

from ntspool.errors import LocalError
from ntspool.net.adminroutes import Handler, Routes, errors
from ntspool.net.system import Where, listen

_MODE = 0o660
_NOBODY_ELSE = 0o177  # until its mode is set
_MAX_BODY = 65536
_READING = ("GET", "HEAD")
_PATIENCE = 1.0
"""Seconds for the requests that are under way at the end."""


@dataclass(frozen=True, slots=True)
class AdminPlaces:
    """Where the API is served: on the Unix socket `path` for its owner and `group` (a name or number, "": the owner's).

    At the addresses `listen` (IP literal, port) whoever can reach them may read, and nobody can act.
    """

    path: Path
    group: str = ""
    listen: Sequence[Where] = ()


class AdminServer:
    """Serves the API at its places; a socket that a dead gateway left there is replaced.

    `start` raises LocalError when a place cannot be used.
    """

    def __init__(self, places: AdminPlaces, routes: Routes) -> None:
        self._places = places
        self._routes = routes
        self._runners: list[web.AppRunner] = []
        self._bound = False

    async def start(self) -> None:
        """Begin to serve."""
        path = self._places.path
        runner = await self._run([*self._routes.reading(), *self._routes.acting()], [errors])
        try:
            before = os.umask(_NOBODY_ELSE)
            try:
                await web.UnixSite(runner, str(path)).start()
            finally:
                os.umask(before)
            self._bound = True
            self._admit_group()
            path.chmod(_MODE)
            await self._listen()
        except OSError as error:
            await self.stop()
            raise LocalError(f"cannot listen on {path}: {error.strerror or error}") from error
        except LocalError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End serving, and take the socket away."""
        for runner in self._runners:
            await runner.cleanup()
        self._runners = []
        if self._bound:
            self._bound = False
            self._places.path.unlink(missing_ok=True)

    async def _run(self, routes: Sequence[web.RouteDef], middlewares: Sequence[Middleware]) -> web.AppRunner:
        app = web.Application(client_max_size=_MAX_BODY, middlewares=middlewares)
        app.add_routes(routes)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_PATIENCE)
        await runner.setup()
        self._runners.append(runner)
        return runner

    def _admit_group(self) -> None:
        path, group = self._places.path, self._places.group
        if not group:
            return
        try:
            os.chown(path, -1, int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid)
        except KeyError as error:
            raise LocalError(f"admin.group: this system has no group {group}") from error
        except OSError as error:
            todo = "ntspool's user must be a member of it"
            raise LocalError(f"cannot give {path} to group {group}: {error.strerror}; {todo}") from error

    async def _listen(self) -> None:
        if not self._places.listen:
            return
        runner = await self._run(self._routes.reading(), [errors, _only_reading])
        for host, port in self._places.listen:
            try:
                await web.SockSite(runner, listen(host, port)).start()
            except OSError as error:
                raise LocalError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error


@web.middleware
async def _only_reading(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.method not in _READING:
        raise web.HTTPMethodNotAllowed(request.method, _READING)
    return await handler(request)
