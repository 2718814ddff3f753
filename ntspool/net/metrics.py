"""What a gateway tells Prometheus and load balancers over HTTP: `/metrics`, `/healthz`, `/readyz`."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ntspool.net import backendmetrics, clustermetrics, gatewaymetrics, upstreammetrics
from ntspool.pool.view import GatewayView

FRESH: Final = 0.5
"""Seconds for which every scraper gets the same exposition."""

_OPENMETRICS: Final = "application/openmetrics-text"
_HEADERS: Final = {"Cache-Control": "no-store"}


class GatewayCollector(Collector):
    """Every metric of one gateway as it was when `view` was made; docs/metrics.md describes them.

    There is nothing to keep between two scrapes, since a view counts from the gateway's start.
    """

    def __init__(self, view: GatewayView) -> None:
        self._view = view

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families."""
        yield from gatewaymetrics.families(self._view)
        yield from backendmetrics.families(self._view)
        yield from clustermetrics.families(self._view.cluster)
        yield from upstreammetrics.families(self._view.upstreams)


def exposition(view: GatewayView, accept: str = "") -> tuple[bytes, str]:
    """Return the metrics in the format that an Accept header asks for, and its content type."""
    encode, content_type = _format(accept)
    return encode(_registry(view)), content_type


def unready(view: GatewayView) -> str:
    """Return why the gateway can serve nobody, empty if it can."""
    if view.ready:
        return ""
    if not view.workers.pids:
        return "no worker runs"
    if not view.certificates:
        return "no certificate"
    if not any(each.state == "UP" for each in view.backends):
        return "no backend is UP"
    if view.cluster is not None and view.cluster.withdrawn:
        return f"cut off: {view.cluster.withdrawn}"
    return "not ready"


def add_routes(app: web.Application, view: Callable[[], GatewayView]) -> None:
    """Make `app` serve `/metrics`, `/healthz` and `/readyz`; `view` is called in its event loop."""
    routes = _Routes(view)
    app.add_routes(
        [web.get("/metrics", routes.metrics), web.get("/healthz", routes.healthz), web.get("/readyz", routes.readyz)]
    )


class _Routes:
    """The handlers; one exposition is made at a time, so that a crowd costs no more than one scraper."""

    def __init__(self, view: Callable[[], GatewayView]) -> None:
        self._view = view
        self._making = asyncio.Lock()
        self._made: dict[str, tuple[float, bytes]] = {}

    async def metrics(self, request: web.Request) -> web.Response:
        encode, content_type = _format(request.headers.get("Accept", ""))
        clock = asyncio.get_running_loop().time
        async with self._making:
            made, body = self._made.get(content_type, (-FRESH, b""))
            if clock() >= made + FRESH:
                # With a thousand backends it takes a while, and probes must not wait for it.
                body = await asyncio.to_thread(encode, _registry(self._view()))
                self._made[content_type] = (clock(), body)
        return web.Response(body=body, headers={**_HEADERS, "Content-Type": content_type})

    async def healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n", headers=_HEADERS)

    async def readyz(self, _request: web.Request) -> web.Response:
        reason = unready(self._view())
        return web.Response(text=f"{reason or 'ready'}\n", status=503 if reason else 200, headers=_HEADERS)


def _format(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    """Return how to write one of the two formats, and its content type.

    Not by the library's reading of the header alone: that echoes any version, and fails at what is none.
    """
    return choose_encoder(_OPENMETRICS if _OPENMETRICS in accept else "")


def _registry(view: GatewayView) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(GatewayCollector(view))
    return registry
