"""The control process of a gateway: everything but the sessions, which its workers serve."""

import asyncio
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import structlog

from ntspool import config
from ntspool.app import declared, operating
from ntspool.app.certificates import Certificates, load
from ntspool.app.cluster import Cluster, Condition, Following, condition
from ntspool.app.keykeeper import KeyKeeper
from ntspool.app.lineup import Lineup
from ntspool.app.listening import Listening
from ntspool.app.operating import Operating, Operator
from ntspool.app.ports import Ports
from ntspool.app.publishing import Publisher
from ntspool.app.serving import serving
from ntspool.app.sharing import BACKENDS, fetch_backends, is_shared
from ntspool.app.snapshots import Snapshots
from ntspool.app.viewing import Viewer
from ntspool.app.workers import Workers
from ntspool.config.difference import difference
from ntspool.errors import LocalError
from ntspool.net import keystore
from ntspool.net.adminroutes import BackendVerbs, GatewayVerbs, KeyVerbs, Routes
from ntspool.net.checker import Checker
from ntspool.net.control import ControlServer
from ntspool.net.dns import look_up
from ntspool.net.eventlog import EventLog
from ntspool.net.historyschema import ENTRY as HISTORY
from ntspool.net.keydesk import KeyDesk
from ntspool.net.keystore import KeyStore
from ntspool.net.recorder import Recorder
from ntspool.net.resolver import Resolver
from ntspool.net.sealed import read_seal
from ntspool.net.store import FileStore, Store
from ntspool.net.system import set_up_logs
from ntspool.net.systemd import Service
from ntspool.net.upstreams import Trouble
from ntspool.pool.model import Backend, Serving, Snapshot
from ntspool.pool.resolving import Outcome, Question, RecordType
from ntspool.pool.view import GatewayView, ReloadView

log = structlog.get_logger()


class Gateway:
    """One gateway: `start` it, let it run, `stop` it; `reload` takes over what changed in its configuration.

    Configuration file and state directory are those of `ntspool serve`; `clock` returns Unix seconds. If this process
    dies, its workers go on serving until another gateway takes over with `hand_over`, and end with it without. What
    systemd opened for `service` is not opened again, and it hears of reloads. Making and starting one raises LocalError
    with what to mend.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = time.time,
        *,
        hand_over: bool = False,
        service: Service | None = None,
    ) -> None:
        self._path = path
        self._service = service or Service({})
        self._clock = clock
        fetch_backends(path)
        self._config = config.load(path)
        self._listening = self._config.listen
        self._certificates = Certificates(load(self._config), clock)
        local, seal = FileStore(self._config.state), read_seal(self._config.keys.encryption_key)
        local.remove_forgotten()
        self._cluster = Cluster(self._config, local, seal, clock) if is_shared(self._config) else None
        store: Store = self._cluster.store if self._cluster else local
        self._store = KeyStore(store, seal)
        self._names_changed = asyncio.Event()
        self._resolver = Resolver(declared.entries(self._config), self._look_up, local, self._names_changed.set)
        keyring = self._store.load_or_create(self._clock())
        if self._store.seal_if_open():
            log.info("keyring encrypted")
        self._recorder = Recorder(self._config.state / HISTORY, declared.history_bounds(self._config), clock)
        self._workers = Workers(self._config.state if hand_over else None, self._take_trouble)
        self._snapshots = Snapshots(self._snapshot, self._workers)
        self._checker = Checker(
            keyring,
            declared.check_settings(self._config),
            self._snapshots.request,
            clock,
            observer=self._recorder.probe,
        )
        self._reloading = asyncio.Lock()
        self._running = AsyncExitStack()
        self._sockets = Listening(self._service, self._config.state)
        self._desk = KeyDesk(self._take_report, self._cluster.holds_back if self._cluster else lambda _after: False)
        self._keys = KeyKeeper(
            self._store,
            self._checker,
            declared.key_settings(self._config),
            desk=self._desk,
            clock=clock,
            on_change=self._snapshots.publish,
            minted=self._workers.sessions.minted,
            others=self._cluster,
        )
        self._events = EventLog(local, clock, self._recorder.event)
        self._operating = Operating(store)
        self._lineup = Lineup(self._resolver, self._keys, self._checker, self._operating)
        self._viewer = Viewer(
            self._checker,
            self._workers,
            self._keys,
            self._operating,
            clock,
            recorder=self._recorder,
            cluster=self._cluster,
        )
        published = declared.publishing(self._config, self._listening)
        self._publisher = Publisher(published, local, lambda: self._viewer.ready, clock)
        self._operator = Operator(self._operating, self._checker, lambda: self._lineup.backends, self._follow_orders)
        control = [(each.host, each.port) for each in self._config.control.listen]
        self._ports = Ports(
            self._config,
            self._routes(),
            ControlServer(control, store, self._desk, clock, seal=seal),
            view=self.view,
            events=lambda: self._events.after(0),
            clock=clock,
        )

    def _routes(self) -> Routes:
        return Routes(
            KeyVerbs(self._keys.status, self._keys.rotate, self._keys.revoke),
            BackendVerbs(self._operator.move, self._operator.weigh, self._operator.probe),
            GatewayVerbs(self.view, self._viewer.sessions, self._events.wait, self.reload, self.replace_workers),
            self._cluster.forget if self._cluster else None,
        )

    def view(self) -> GatewayView:
        """Return what is shown of this gateway now."""
        return self._viewer.gateway(self._config, self._listening, self._lineup.backends, self._publisher.view())

    async def start(self) -> None:
        """Listen, probe every backend once, and return when the workers serve; `stop` it even if this fails.

        Workers that have lost their control process hand over to those of this one.
        """
        self._events.recall()
        self._recorder.start()
        set_up_logs(declared.log_settings(self._config), self._events.record)
        if self._cluster:
            self._running.push_async_callback(self._cluster.stop)
        wanted = [(each.address.host, each.address.port) for each in self._listening]
        sockets = await self._sockets.open(wanted, self._running)
        self._running.push_async_callback(self._checker.stop)
        await self._resolver.start()
        self._running.push_async_callback(self._resolver.stop)
        await self._lineup.resolve()
        await self._lineup.watch()
        await self._start_workers(sockets)
        await self._ports.start(self._running)
        routines = [
            self._snapshots.publish_on_change(),
            self._lineup.follow_names(self._names_changed, self._reloading, self._snapshots.publish),
            self._certificates.follow(self._snapshots.publish),
            self._keys.rotate_when_due(),
            self._publisher.run(),
        ]
        if self._cluster:
            routines.append(self._cluster.run(self._condition, self._following()))
        self._running.push_async_callback(self._publisher.withdraw)
        tasks = [asyncio.create_task(each) for each in routines]
        self._running.push_async_callback(_cancel, tasks)
        # From here nothing fails any more.
        self._sockets.take_over(self._patience)
        addresses = [f"{host}:{port}" for host, port, *_ in (each.getsockname() for each in sockets)]
        known, up = len(self._lineup.backends), sum(bool(each.up) for each in self.served.serving)
        log.info("serving", listen=addresses, workers=len(self._workers.pids), backends=known, up=up)

    async def _start_workers(self, sockets: Sequence[socket.socket]) -> None:
        self._running.push_async_callback(self._workers.stop, self._patience)
        await self._workers.start(declared.worker_count(self._config), sockets, self._snapshots.first())

    async def stop(self) -> None:
        """Accept nobody any more, let the running sessions end, and end every process and task."""
        self._events.release()
        await self._running.aclose()
        log.info("stopped")
        self._events.close()
        await self._recorder.stop()

    async def reload(self) -> ReloadView:
        """Take over the configuration file, the certificates and the keyring; a mistake leaves all as it was.

        Returns what has changed; raises LocalError, which has been logged.
        """
        async with self._reloading:
            with self._service.reloading():
                return await self._reload()

    async def replace_workers(self) -> None:
        """Put fresh processes in the workers' places, one by one; raises LocalError when one does not serve."""
        async with self._reloading:
            await self._workers.replace(self._patience)
        log.info("workers replaced", pids=self._workers.pids)

    async def _reload(self) -> ReloadView:
        try:
            fresh = config.load(self._path)
            certificates = self._certificates.load_next(fresh)
            await self._keys.reload()
        except LocalError as error:
            log.error("reload refused, the old configuration stays", mistakes=str(error).splitlines())
            raise
        fixed = tuple(key for key, what in declared.FIXED.items() if what(fresh) != what(self._config))
        for key in fixed:
            log.warning("a restart is needed for this change", key=key)
        changes = difference(self._config, fresh)
        for change in changes:
            log.info("configuration changed", key=change.key, before=change.before, after=change.after)
        gone = {each.name for each in self._config.backends} - {each.name for each in fresh.backends}
        self._config = fresh
        if self._cluster:
            self._cluster.declared = fresh
        self._certificates.adopt(certificates)
        self._resolver.entries = declared.entries(fresh)
        self._checker.settings = declared.check_settings(fresh)
        self._keys.settings = declared.key_settings(fresh)
        self._publisher.settings = declared.publishing(self._config, self._listening)
        self._recorder.bounds = declared.history_bounds(fresh)
        set_up_logs(declared.log_settings(fresh), self._events.record)
        await self._lineup.resolve()
        await asyncio.to_thread(self._operating.forget, gone)
        await self._lineup.watch()
        await self._snapshots.publish()
        await self._workers.resize(declared.worker_count(fresh), self._patience)
        log.info("reloaded", revision=self._snapshots.revision, backends=len(self._lineup.backends))
        return ReloadView(changes, fixed)

    async def _look_up(self, question: Question) -> Mapping[RecordType, Outcome]:
        return await look_up(question, declared.dns_settings(self._config))

    async def _follow_orders(self) -> None:
        await self._lineup.watch()
        await self._snapshots.publish()

    def _condition(self) -> Condition:
        up = any(each.up for each in self.served.serving)
        return condition(self._checker, self._keys.settings.life, self._clock(), ready=up)

    def _following(self) -> Following:
        entries = {keystore.ENTRY: self._keys.follow, operating.ENTRY: self._operator.follow, BACKENDS: self.reload}
        return Following(entries, self._snapshots.request, self._keys.lay_out, self._publisher)

    @property
    def keys(self) -> KeyKeeper:
        """What rotates and revokes the keys."""
        return self._keys

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The process ids of the workers that run now."""
        return self._workers.pids

    def lagging(self) -> list[str]:
        """Return the names of the backends that are UP and have not proved the next epoch yet."""
        return self._checker.lagging(self._keys.keyring.next)

    @property
    def served(self) -> Snapshot:
        """What every worker serves now."""
        return self._snapshots.served

    @property
    def status(self) -> str:
        """How it goes, in one line."""
        up = sum(bool(each.up) for each in self.served.serving)
        sessions = self._workers.sessions.total
        return f"{up} of {len(self._lineup.backends)} backends UP, {len(self.worker_pids)} workers, {sessions} sessions"

    @property
    def _patience(self) -> float:
        """Seconds in which a worker that finishes must have ended."""
        return self._config.limits.session_timeout + 1

    def _serving(self, backend: Backend) -> Serving:
        withheld = self._cluster is not None and backend.name in self._cluster.verdict.heeded
        return serving(backend, self._operating.order(backend.name), self._checker, withheld=withheld)

    def _snapshot(self, revision: int) -> Snapshot:
        snapshot = Snapshot(
            revision=revision,
            certificates=self._certificates.now,
            rules=declared.session_rules(self._config, self._listening),
            log=declared.log_settings(self._config),
            serving=tuple(map(self._serving, self._lineup.backends)),
            selection=declared.selection(self._config),
        )
        self._viewer.note(snapshot)
        self._publisher.notice()
        return snapshot

    def _take_report(self, backend: str) -> None:
        self._checker.report(backend, self._desk.reports[backend].failure)

    def _take_trouble(self, trouble: Trouble) -> None:
        self._checker.fail(trouble.backend, trouble.failure, trouble.address)


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
