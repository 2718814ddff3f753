"""The control process of a gateway: everything but the sessions, which its workers serve."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from ntspool import config
from ntspool.app import declared
from ntspool.app.workers import Workers
from ntspool.errors import CertificateError, LocalError, NtspoolError
from ntspool.net import keystore
from ntspool.net.checker import Checker
from ntspool.net.store import FileStore
from ntspool.net.system import listen, set_up_logs
from ntspool.pool.cookies import SERVER_AEAD
from ntspool.pool.keyring import Keyring
from ntspool.pool.model import Backend, Serving, Snapshot

START_DEADLINE = 30.0
"""Seconds in which every worker must serve; beyond that something is wrong with the installation."""

CERTIFICATE_INTERVAL = 5.0
"""Seconds between two looks at the certificate files."""

ROTATION_INTERVAL = 60.0
"""Seconds between two looks whether a rotation is due and safe."""

log = structlog.get_logger()


class Gateway:
    """One gateway: `start` it, let it run, `stop` it; `reload` takes over what changed in its configuration.

    Configuration file and state directory are those of `ntspool serve`; `clock` returns Unix seconds. Making and
    starting one raises LocalError with what to mend.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._config = config.load(path)
        self._certificate_stamps = _stamps(self._config)
        self._certificates = declared.certificates(self._config)
        self._backends = declared.backends(self._config)
        self._store = FileStore(self._config.state)
        self._keyring = keystore.load_or_create(self._store, self._clock())
        self._checker = Checker(self._keyring, declared.check_settings(self._config), self._request_publish)
        self._revision = 0
        self._publish_wanted = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._sockets: list[socket.socket] = []
        self._workers = Workers()
        self._served: Snapshot

    async def start(self) -> None:
        """Listen, probe every backend once, and return when the workers serve."""
        set_up_logs(declared.log_settings(self._config))
        self._sockets = _listen(self._config)
        await self._checker.watch(self._backends)
        self._publish_wanted.clear()
        self._served = self._snapshot()
        try:
            async with asyncio.timeout(START_DEADLINE):
                await self._workers.start(declared.worker_count(self._config), self._sockets, self._served)
        except TimeoutError:
            raise LocalError(f"the workers do not serve after {START_DEADLINE:g} s; their log says why") from None
        for routine in (self._publish_on_change, self._watch_certificates, self._rotate_when_due):
            self._tasks.append(asyncio.create_task(routine()))
        addresses = [f"{host}:{port}" for host, port, *_ in (each.getsockname() for each in self._sockets)]
        up = sum(bool(each.up) for each in self._served.serving)
        log.info("serving", listen=addresses, workers=len(self._workers.pids), backends=len(self._backends), up=up)

    async def stop(self) -> None:
        """Accept nobody any more, let the running sessions end, and end every process and task."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._checker.stop()
        await self._workers.stop(self._config.limits.session_timeout + 1)
        for each in self._sockets:
            each.close()
        log.info("stopped")

    async def reload(self) -> None:
        """Take over the configuration file, the certificates and the keyring; a mistake leaves all as it was."""
        async with self._reloading:
            await self._reload()

    async def _reload(self) -> None:
        try:
            fresh = config.load(self._path)
            stamps = _stamps(fresh)
            certificates = declared.certificates(fresh)
            keyring = keystore.load_or_create(self._store, self._clock())
        except LocalError as error:
            log.error("reload refused, the old configuration stays", mistakes=str(error).splitlines())
            return
        for fixed in ("listen", "workers", "state"):
            if getattr(fresh, fixed) != getattr(self._config, fixed):
                log.warning("a restart is needed for this change", key=fixed)
        self._config, self._keyring = fresh, keyring
        self._certificate_stamps, self._certificates = stamps, certificates
        self._backends = declared.backends(fresh)
        self._checker.keyring, self._checker.settings = keyring, declared.check_settings(fresh)
        set_up_logs(declared.log_settings(fresh))
        await self._checker.watch(self._backends)
        await self.publish()
        log.info("reloaded", revision=self._revision, backends=len(self._backends))

    async def rotate(self) -> None:
        """Rotate the keys now; returns when every worker mints under the new current epoch.

        Raises LocalError, and changes nothing, while a backend that is UP has not proved the next epoch.
        """
        if lagging := self.lagging():
            raise LocalError(
                f"not rotated: {', '.join(lagging)} cannot open cookies of epoch {self._keyring.next.number}"
            )
        self._keyring = self._checker.keyring = keystore.rotate(self._store, self._keyring, self._clock())
        await self.publish()
        log.info("keys rotated", epoch=self._keyring.current.number)

    async def publish(self) -> None:
        """Make the present state what is served; returns when every worker serves it."""
        self._publish_wanted.clear()
        snapshot = self._snapshot()
        await self._workers.publish(snapshot)
        self._served = snapshot

    @property
    def keyring(self) -> Keyring:
        """The keyring that is served from now."""
        return self._keyring

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The process ids of the workers that run now."""
        return self._workers.pids

    def lagging(self) -> list[str]:
        """Return the names of the backends that are UP and have not proved the next epoch yet."""
        return self._checker.lagging(self._keyring.next)

    @property
    def served(self) -> Snapshot:
        """What every worker serves now."""
        return self._served

    def _serving(self, backend: Backend) -> Serving:
        key = self._keyring.current.key(backend.key_group, SERVER_AEAD[backend.cookies])
        return Serving(backend, self._checker.up(backend), key)

    def _snapshot(self) -> Snapshot:
        self._revision += 1
        return Snapshot(
            revision=self._revision,
            certificates=self._certificates,
            rules=declared.session_rules(self._config),
            log=declared.log_settings(self._config),
            serving=tuple(map(self._serving, self._backends)),
        )

    def _request_publish(self) -> None:
        self._publish_wanted.set()

    async def _publish_on_change(self) -> None:
        while True:
            await self._publish_wanted.wait()
            await self.publish()

    async def _watch_certificates(self) -> None:
        while True:
            await asyncio.sleep(CERTIFICATE_INTERVAL)
            stamps = _stamps(self._config)
            if stamps == self._certificate_stamps:
                continue
            self._certificate_stamps = stamps
            try:
                self._certificates = declared.certificates(self._config)
            except CertificateError as error:
                log.error("new certificate refused, the old one stays", reason=str(error))
                continue
            await self.publish()
            log.info("certificates reloaded")

    async def _rotate_when_due(self) -> None:
        while True:
            await asyncio.sleep(ROTATION_INTERVAL)
            interval = self._config.keys.rotate
            if interval is None or self._clock() < self._keyring.rotated + interval:
                continue
            try:
                await self.rotate()
            except NtspoolError as error:
                log.warning("rotation is due but waits", reason=str(error))


def _stamps(declared_config: config.Config) -> list[tuple[int, int, int]]:
    """Return what changes when a certificate or key file does; take it before reading, so that no change is missed."""
    stamps = []
    for path in (path for each in declared_config.tls for path in (each.certificate, each.key)):
        with contextlib.suppress(OSError):
            status = path.stat()
            stamps.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return stamps


def _listen(declared_config: config.Config) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    for endpoint in declared_config.listen:
        try:
            sockets.append(listen(endpoint.host, endpoint.port))
        except OSError as error:
            for each in sockets:
                each.close()
            raise LocalError(f"cannot listen on {endpoint.host} port {endpoint.port}: {error.strerror}") from error
    return sockets
