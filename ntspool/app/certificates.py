"""The certificates that a gateway serves, read anew when their files change."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from ntspool import config
from ntspool.app import declared
from ntspool.app.problems import CERTIFICATE_WARNING
from ntspool.errors import CertificateError
from ntspool.net.tls import dns_names, not_after
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
    """The certificates that hold now, those of `loaded` at first; `clock` returns Unix seconds."""

    def __init__(self, loaded: Loaded, clock: Callable[[], float]) -> None:
        self._loaded = loaded
        self._clock = clock
        self._told: set[tuple[str, Certificate]] = set()

    @property
    def now(self) -> tuple[Certificate, ...]:
        """Those to serve."""
        return self._loaded.certificates

    def load_next(self, declared_config: config.Config) -> Loaded:
        """Read those that are to take the place of the present ones.

        Raises CertificateError, also when one of them has expired and none of the present ones has: clients would be
        the worse for it.
        """
        loaded, now = load(declared_config), self._clock()
        ended = [
            pair.certificate
            for pair, each in zip(declared_config.tls, loaded.certificates, strict=True)
            if not_after(each) <= now
        ]
        if ended and all(now < not_after(each) for each in self.now):
            raise CertificateError(f"{ended[0]} has expired, and what is served has not")
        return loaded

    def adopt(self, loaded: Loaded) -> None:
        """Serve others from now; the log says so if they are."""
        before, self._loaded = self._loaded, loaded
        if loaded.certificates != before.certificates:
            words = {"before": _ends(before.certificates), "after": _ends(loaded.certificates)}
            log.info("certificates reloaded", **words)

    async def follow(self, on_change: Callable[[], Awaitable[None]]) -> None:
        """Look at the files for ever; `on_change` is awaited when there are other certificates."""
        refused = ""
        while True:
            self._tell_ends()
            await asyncio.sleep(INTERVAL)
            if _stamps(self._loaded.declared_config) == self._loaded.stamps:
                continue
            try:
                self.adopt(self.load_next(self._loaded.declared_config))
            except CertificateError as error:
                # Read again next time: it may be our descriptors that were lacking.
                if str(error) != refused:
                    log.error("new certificate refused, the old one stays", reason=str(error))
                refused = str(error)
                continue
            refused = ""
            await on_change()

    def _tell_ends(self) -> None:
        """Log once of each certificate that it ends soon, and once that it has ended."""
        for each in self.now:
            left, names = not_after(each) - self._clock(), ", ".join(dns_names(each))
            if left <= 0 and ("expired", each) not in self._told:
                self._told.add(("expired", each))
                log.error("certificate has expired", names=names, cause=f"{_ends((each,))}: clients refuse it")
            elif 0 < left < CERTIFICATE_WARNING and ("soon", each) not in self._told:
                self._told.add(("soon", each))
                log.warning("certificate expires soon", names=names, cause=_ends((each,)))


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
