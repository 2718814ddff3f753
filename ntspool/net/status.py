"""The status page's HTTP server: GET and HEAD, a handful of paths, and bounds that keep strangers cheap."""

import asyncio
import gzip
import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from typing import Final

from aiohttp import ETag, web

from ntspool.errors import LocalError, StateError
from ntspool.net.page import document
from ntspool.net.system import listen
from ntspool.pool.history import History
from ntspool.pool.view import EventView, GatewayView

OBSERVE_INTERVAL: Final = 5.0
"""Seconds between two looks at the gateway for the plots."""

CONNECTIONS: Final = 256
"""Connections at a time; one more, and the oldest is cut off: browsers come back by themselves."""

FRESH: Final = 1.0
"""Seconds for which everybody is shown the same rendering, so that a crowd costs no more than one reader."""

DUTY: Final = 0.1
"""The part of a core that renderings may take: those of a large pool are shown for longer."""

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "interest-cohort=()",
    "Server": "ntspool",
}
"""What every response says: nothing but our own files is loaded, and nobody hears where a reader came from."""

_SLOWEST = 60.0
_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}

Render = Callable[[GatewayView, Sequence[EventView], History], str]


@dataclass(frozen=True, slots=True)
class _Rendering:
    """A document as text and compressed, with its ETag; shown to everybody until `stale`, by the loop's clock."""

    body: bytes
    small: bytes
    tag: str
    stale: float


class StatusServer:
    """Serves the page at `endpoints` (IP literal, port): `start` it, and `stop` it in the end.

    `view` and `events` return what the gateway is now and its latest events; they are called from the event loop, at
    most twice in FRESH seconds for readers and once in OBSERVE_INTERVAL for the plots. `more` adds routes before it
    starts. `past` is called once, in a thread, for what was before; it may raise StateError.
    """

    def __init__(
        self,
        endpoints: Sequence[tuple[str, int]],
        view: Callable[[], GatewayView],
        events: Callable[[], Sequence[EventView]],
        more: Callable[[web.Application], None] = lambda _: None,
        past: Callable[[], History] = History,
    ) -> None:
        self._endpoints = endpoints
        self._view = view
        self._events = events
        self._more = more
        self._past = past
        self._history = History()
        self._files = {document.static_name(each): each for each in document.STATIC}
        self._rendered: dict[Render, _Rendering] = {}
        self._rendering = asyncio.Lock()
        self._runner: web.AppRunner | None = None
        self._listening: list[asyncio.Server] = []
        self._observing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen and answer; raises LocalError when it cannot listen."""
        app = web.Application()
        app.on_response_prepare.append(_add_headers)
        app.router.add_get("/", self._page)
        app.router.add_get("/fragment", self._fragment)
        app.router.add_get("/static/{name}", self._static)
        self._more(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=_SLOWEST)
        await self._runner.setup()
        self._observing = asyncio.create_task(self._observe())
        loop = asyncio.get_running_loop()
        for host, port in self._endpoints:
            try:
                listening = listen(host, port)
            except OSError as error:
                raise LocalError(f"cannot listen on {host} port {port}: {error.strerror}") from error
            self._listening.append(await loop.create_server(self._connect, sock=listening))

    async def stop(self) -> None:
        """End serving; harmless if `start` failed or was not called."""
        for each in self._listening:
            each.close()
        if self._observing is not None:
            self._observing.cancel()
            with suppress(asyncio.CancelledError):
                await self._observing
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where it listens, in the order of the endpoints; for port 0 the one that the system chose."""
        return tuple(each.sockets[0].getsockname()[:2] for each in self._listening)

    def _connect(self) -> asyncio.Protocol:
        assert self._runner is not None  # noqa: S101 - `start` made it
        server = self._runner.server
        assert server is not None  # noqa: S101 - `setup` made it
        if len(server.connections) >= CONNECTIONS:
            server.connections[0].force_close()
        return server()

    async def _observe(self) -> None:
        with suppress(StateError):  # without a past the plots begin now
            self._history = await asyncio.to_thread(self._past)
        while True:
            self._history.observe(self._view())
            await asyncio.sleep(OBSERVE_INTERVAL)

    async def _page(self, request: web.Request) -> web.Response:
        return await self._answer(request, document.page)

    async def _fragment(self, request: web.Request) -> web.Response:
        return await self._answer(request, document.fragment)

    async def _answer(self, request: web.Request, render: Render) -> web.Response:
        rendering = await self._latest(render)
        tag = ETag(rendering.tag, is_weak=True)
        if any(each.value == tag.value for each in request.if_none_match or ()):
            response = web.Response(status=304)
        elif "gzip" in request.headers.get("Accept-Encoding", ""):
            response = web.Response(body=rendering.small, content_type="text/html", charset="utf-8")
            response.headers["Content-Encoding"] = "gzip"
        else:
            response = web.Response(body=rendering.body, content_type="text/html", charset="utf-8")
        response.etag = tag
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Vary"] = "Accept-Encoding"
        return response

    async def _latest(self, render: Render) -> _Rendering:
        loop = asyncio.get_running_loop()
        # While one renders, the others wait for what it makes.
        async with self._rendering:
            held = self._rendered.get(render)
            if held is not None and loop.time() < held.stale:
                return held
            # With a hundred backends it takes a while, and probes must not wait for it.
            begun, seen = loop.time(), (self._view(), list(self._events()), self._history.copy())
            body, small = await asyncio.to_thread(_rendered, render, *seen)
            now = loop.time()
            stale = now + max(FRESH, (now - begun) / DUTY)
            self._rendered[render] = _Rendering(body, small, hashlib.sha256(body).hexdigest()[:16], stale)
            return self._rendered[render]

    async def _static(self, request: web.Request) -> web.Response:
        name = self._files.get(request.match_info["name"])
        if name is None:
            raise web.HTTPNotFound
        body = resources.files("ntspool.net.page").joinpath("static", name).read_bytes()
        response = web.Response(body=body, content_type=_TYPES[name.rpartition(".")[2]], charset="utf-8")
        # Its name changes with it.
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        response.enable_compression()
        return response


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def _rendered(render: Render, view: GatewayView, events: Sequence[EventView], history: History) -> tuple[bytes, bytes]:
    body = render(view, events, history).encode()
    return body, gzip.compress(body, 6, mtime=0)
