"""The certificates that a gateway serves, read anew when their files change."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from ntspool import config
from ntspool.app import declared
from ntspool.errors import CertificateError
from ntspool.net.tls import not_after
from ntspool.pool.model import Certificate

INTERVAL = 5.0
"""Seconds between two looks at the files."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Loaded:
    """Certificates, the configuration that names their files, and what changes when one of these does."""

    declared_config: config.Config
    stamps: list[tuple[int, int, int]]
    certificates: tuple[Certificate, ...]


def load(declared_config: config.Config) -> Loaded:
    """Read the certificates of a configuration; raises CertificateError."""
    # Before reading, so that no change is missed.
    stamps = _stamps(declared_config)
    return Loaded(declared_config, stamps, declared.certificates(declared_config))


class Certificates:
    """The certificates that hold now, those of `loaded` at first."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded

    @property
    def now(self) -> tuple[Certificate, ...]:
        """Those to serve."""
        return self._loaded.certificates

    def adopt(self, loaded: Loaded) -> None:
        """Serve others from now; the log says so if they are."""
        before, self._loaded = self._loaded, loaded
        if loaded.certificates != before.certificates:
            words = {"before": _ends(before.certificates), "after": _ends(loaded.certificates)}
            log.info("certificates reloaded", **words)

    async def follow(self, on_change: Callable[[], Awaitable[None]]) -> None:
        """Look at the files for ever; `on_change` is awaited when there are other certificates."""
        refused: list[tuple[int, int, int]] = []
        while True:
            await asyncio.sleep(INTERVAL)
            stamps = _stamps(self._loaded.declared_config)
            if stamps in (self._loaded.stamps, refused):
                continue
            try:
                self.adopt(load(self._loaded.declared_config))
            except CertificateError as error:
                log.error("new certificate refused, the old one stays", reason=str(error))
                refused = stamps
                continue
            await on_change()


def _ends(certificates: tuple[Certificate, ...]) -> str:
    return ", ".join(f"valid until {datetime.fromtimestamp(not_after(each), UTC):%Y-%m-%d}" for each in certificates)


def _stamps(declared_config: config.Config) -> list[tuple[int, int, int]]:
    """Return what changes when a certificate or key file does."""
    stamps = []
    for path in (path for each in declared_config.tls for path in (each.certificate, each.key)):
        with contextlib.suppress(OSError):
            status = path.stat()
            stamps.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return stamps
