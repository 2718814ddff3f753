"""What the admin API answers, by resource; docs/api.md describes it.

Answers are JSON: the values of pool/view.py as objects with the same names.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from aiohttp import web

from ntspool.errors import ConfigError, LocalError, RefusedError, UnknownError
from ntspool.pool.admin import HIGHEST_WEIGHT, Mode
from ntspool.pool.view import BackendView, EventView, GatewayView, ProbeView, ReloadView, SessionsView

LONGEST_WAIT = 60.0
"""Seconds that a request for events waits for one, at most."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class KeyVerbs:
    """What the API can do with keys; `rotate` and `revoke` raise RefusedError when they must not."""

    status: Callable[[], dict[str, Any]]
    rotate: Callable[[], Awaitable[None]]
    revoke: Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class BackendVerbs:
    """What the API can do with a backend by its name; all raise UnknownError when there is none, else LocalError.

    `move` and `weigh` return once every worker goes by it; a weight of None is the declared one.
    """

    move: Callable[[str, Mode], Awaitable[None]]
    weigh: Callable[[str, int | None], Awaitable[None]]
    probe: Callable[[str], Awaitable[Sequence[ProbeView]]]


@dataclass(frozen=True, slots=True)
class GatewayVerbs:
    """What the API can tell of the gateway as a whole, and do with it; the latter raise LocalError when it fails.

    `events` returns those with a higher number than the one given, after waiting for so many seconds if there is none.
    """

    view: Callable[[], GatewayView]
    sessions: Callable[[], SessionsView]
    events: Callable[[int, float], Awaitable[Sequence[EventView]]]
    reload: Callable[[], Awaitable[ReloadView]]
    replace_workers: Callable[[], Awaitable[None]]


class BadRequestError(Exception):
    """A request is not what it must be; the message says what was expected."""


class Routes:
    """The routes of the API over the verbs of one gateway.

    `forget` makes all gateways of a cluster forget one of them, by its name; None if this one is alone.
    """

    def __init__(
        self,
        keys: KeyVerbs,
        backends: BackendVerbs,
        gateway: GatewayVerbs,
        forget: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._keys = keys
        self._backends = backends
        self._gateway = gateway
        self._forget = forget

    def reading(self) -> list[web.RouteDef]:
        """Return those that change nothing."""
        return [
            web.get("/v1/status", self._status),
            web.get("/v1/backends", self._list_backends),
            web.get("/v1/backends/{name}", self._show_backend),
            web.get("/v1/sessions", self._sessions),
            web.get("/v1/events", self._events),
            web.get("/v1/keys", self._show_keys),
        ]

    def acting(self) -> list[web.RouteDef]:
        """Return those that do something."""
        return [
            *(web.post(f"/v1/backends/{{name}}/{mode}", self._mover(mode)) for mode in Mode),
            web.post("/v1/backends/{name}/weight", self._weigh),
            web.post("/v1/backends/{name}/probe", self._probe),
            web.post("/v1/keys/rotate", self._rotate),
            web.post("/v1/keys/revoke", self._revoke),
            web.post("/v1/reload", self._reload),
            web.post("/v1/workers/replace", self._replace_workers),
            web.post("/v1/cluster/forget", self._forget_gateway),
        ]

    async def _status(self, _request: web.Request) -> web.Response:
        return web.json_response(asdict(self._gateway.view()))

    async def _list_backends(self, _request: web.Request) -> web.Response:
        return _listed(self._gateway.view().backends)

    async def _show_backend(self, request: web.Request) -> web.Response:
        return self._shown(request.match_info["name"])

    def _shown(self, name: str) -> web.Response:
        backends = self._gateway.view().backends
        found: BackendView | None = next((each for each in backends if each.name == name), None)
        if found is None:
            raise unknown_backend(name, (each.name for each in backends))
        return web.json_response(asdict(found))

    def _mover(self, mode: Mode) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def move(request: web.Request) -> web.Response:
            await _body(request, {})
            name = request.match_info["name"]
            await self._backends.move(name, mode)
            return self._shown(name)

        return move

    async def _weigh(self, request: web.Request) -> web.Response:
        name, wanted = request.match_info["name"], f"a whole number from 0 to {HIGHEST_WEIGHT}, or null"
        weight = (await _body(request, {"weight": wanted}))["weight"]
        if weight is not None and not (_is_whole(weight) and 0 <= weight <= HIGHEST_WEIGHT):
            raise BadRequestError(f"weight: expected {wanted}")
        await self._backends.weigh(name, weight)
        return self._shown(name)

    async def _probe(self, request: web.Request) -> web.Response:
        await _body(request, {})
        return _listed(await self._backends.probe(request.match_info["name"]))

    async def _sessions(self, _request: web.Request) -> web.Response:
        return web.json_response(asdict(self._gateway.sessions()))

    async def _events(self, request: web.Request) -> web.Response:
        if strange := request.query.keys() - {"after", "wait"}:
            raise BadRequestError(f"{min(strange)}: unknown; expected after and wait")
        try:
            after, wait = int(request.query.get("after", "0")), float(request.query.get("wait", "0"))
        except ValueError:
            raise BadRequestError("expected after=NUMBER and wait=SECONDS") from None
        if not isfinite(wait):
            raise BadRequestError("wait: expected a number of seconds")
        return _listed(await self._gateway.events(after, min(max(wait, 0.0), LONGEST_WAIT)))

    async def _show_keys(self, _request: web.Request) -> web.Response:
        return web.json_response(self._keys.status())

    async def _rotate(self, request: web.Request) -> web.Response:
        await _body(request, {})
        await self._keys.rotate()
        return web.json_response(self._keys.status())

    async def _revoke(self, request: web.Request) -> web.Response:
        epoch = (await _body(request, {"epoch": "a whole number"}))["epoch"]
        if not _is_whole(epoch):
            raise BadRequestError("epoch: expected a whole number")
        await self._keys.revoke(epoch)
        return web.json_response(self._keys.status())

    async def _reload(self, request: web.Request) -> web.Response:
        await _body(request, {})
        return web.json_response(asdict(await self._gateway.reload()))

    async def _replace_workers(self, request: web.Request) -> web.Response:
        await _body(request, {})
        await self._gateway.replace_workers()
        return web.json_response({})

    async def _forget_gateway(self, request: web.Request) -> web.Response:
        name = (await _body(request, {"gateway": "a gateway's name"}))["gateway"]
        if not isinstance(name, str):
            raise BadRequestError("gateway: expected a gateway's name")
        if self._forget is None:
            raise RefusedError("this gateway is alone")
        await self._forget(name)
        return web.json_response({})


_STATUS: Mapping[type[LocalError], int] = {UnknownError: 404, RefusedError: 409}


def unknown_backend(name: str, names: Iterable[str]) -> UnknownError:
    """Return the error for a backend that there is not."""
    return UnknownError(f"there is no backend {name!r}; there are {', '.join(names)}")


async def _body(request: web.Request, expected: Mapping[str, str]) -> dict[str, Any]:
    """Return the JSON object of a request, which must have these keys and no others; none may be an empty body."""
    data = await request.read()
    shape = ", ".join(f'"{key}": {wanted}' for key, wanted in expected.items())
    try:
        body = json.loads(data) if data.strip() or expected else {}
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise BadRequestError(f"this is no JSON object; expected {{{shape}}}")
    for key in body.keys() - expected.keys():
        raise BadRequestError(f"{key[:64]}: unknown key; expected {{{shape}}}")
    for key in expected.keys() - body.keys():
        raise BadRequestError(f"{key}: missing; expected {{{shape}}}")
    return body


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _listed(values: Iterable[Any]) -> web.Response:
    return web.json_response([asdict(each) for each in values])


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what goes wrong in JSON, too."""
    try:
        return await handler(request)
    except BadRequestError as error:
        return _error(400, str(error))
    except ConfigError as error:
        return _error(422, str(error), mistakes=list(error.mistakes))
    except LocalError as error:
        return _error(_STATUS.get(type(error), 500), str(error))
    except web.HTTPException as error:
        allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _error(error.status, error.reason.lower(), headers=allowed)


def _error(status: int, reason: str, headers: Mapping[str, str] | None = None, **more: Sequence[str]) -> web.Response:
    return web.json_response({"error": reason, **more}, status=status, headers=headers)
