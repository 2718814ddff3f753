"""What a gateway tells Prometheus and load balancers over HTTP: `/metrics`, `/healthz`, `/readyz`."""

import asyncio
from collections.abc import Callable, Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ntspool.net import backendmetrics, gatewaymetrics
from ntspool.pool.view import GatewayView

_HEADERS = {"Cache-Control": "no-store"}


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


def exposition(view: GatewayView, accept: str = "") -> tuple[bytes, str]:
    """Return the metrics in the format that an Accept header asks for, and its content type."""
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry()
    registry.register(GatewayCollector(view))
    return encode(registry), content_type


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
    return "not ready"


def add_routes(app: web.Application, view: Callable[[], GatewayView]) -> None:
    """Make `app` serve `/metrics`, `/healthz` and `/readyz`; `view` is called in its event loop, once a request."""

    async def metrics(request: web.Request) -> web.Response:
        # With a thousand backends it takes a while, and probes must not wait for it.
        body, content_type = await asyncio.to_thread(exposition, view(), request.headers.get("Accept", ""))
        return web.Response(body=body, headers={**_HEADERS, "Content-Type": content_type})

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n", headers=_HEADERS)

    async def readyz(_request: web.Request) -> web.Response:
        reason = unready(view())
        return web.Response(text=f"{reason or 'ready'}\n", status=503 if reason else 200, headers=_HEADERS)

    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)])
