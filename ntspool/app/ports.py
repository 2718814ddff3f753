"""Where a gateway listens to others than clients: agents' port, admin API and status page."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from ntspool import config
from ntspool.app import declared
from ntspool.net.admin import AdminServer
from ntspool.net.adminroutes import Routes
from ntspool.net.control import ControlServer
from ntspool.net.historyreader import remembered
from ntspool.net.historyschema import ENTRY as HISTORY
from ntspool.net.metrics import add_routes
from ntspool.net.status import StatusServer
from ntspool.pool.view import EventView, GatewayView


class Ports:
    """The ports of one gateway; agents' port and status page only where the configuration wants them.

    `view` and `events` are what the status page shows, `clock` returns Unix seconds.
    """

    def __init__(
        self,
        stated: config.Config,
        routes: Routes,
        control: ControlServer,
        *,
        view: Callable[[], GatewayView],
        events: Callable[[], Sequence[EventView]],
        clock: Callable[[], float],
    ) -> None:
        self._admin = AdminServer(declared.admin_places(stated), routes)
        self._control = control if stated.control.listen else None
        self._status = (
            StatusServer(
                [(each.host, each.port) for each in stated.status.listen],
                view,
                events,
                more=lambda app: add_routes(app, view),
                past=lambda: remembered(stated.state / HISTORY, clock()),
            )
            if stated.status.listen
            else None
        )

    async def start(self, running: AsyncExitStack) -> None:
        """Listen until `running` is closed; raises LocalError when a port cannot be had."""
        running.push_async_callback(self._admin.stop)
        await self._admin.start()
        if self._control:
            await self._control.start()
            running.push_async_callback(self._control.stop)
        if self._status:
            running.push_async_callback(self._status.stop)
            await self._status.start()
