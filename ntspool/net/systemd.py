"""What passes between systemd and a service of type notify: sd_notify(3), sd_listen_fds(3), systemd.exec(5).

Outside of systemd nothing is told, and nothing is there to be taken.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from pathlib import Path

import structlog

from ntspool.errors import LocalError
from ntspool.net.system import Where

STATUS_INTERVAL = 5.0
"""Seconds between two looks at what the status line is to say; the watchdog may want less."""

UNIT_CREDENTIALS = Path("/run/credentials/ntspool.service")
"""Where commands that are not part of the gateway's unit find its credentials, if they may."""

_FIRST_DESCRIPTOR = 3
_TAKEN = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")

log = structlog.get_logger()


class Service:
    """What systemd sees of the process.

    Making one takes what systemd said out of `environment`, so that no child takes itself for the service.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        said = {name: environment.pop(name, "") for name in _TAKEN}
        self._address = said["NOTIFY_SOCKET"]
        self._watchdog = 0.0
        if said["WATCHDOG_USEC"].isdecimal() and said["WATCHDOG_PID"] in ("", str(os.getpid())):
            self._watchdog = int(said["WATCHDOG_USEC"]) / 1e6
        ours = said["LISTEN_PID"] == str(os.getpid()) and said["LISTEN_FDS"].isdecimal()
        self._descriptors = range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(said["LISTEN_FDS"])) if ours else range(0)
        self._names = said["LISTEN_FDNAMES"].split(":")

    def notify(self, *assignments: str) -> None:
        """Tell systemd, for example `READY=1`; what it does not take is lost."""
        if not self._address:
            return
        # An abstract socket's name begins with NUL, which no variable can hold.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as telling:
            try:
                # What a daemon said may stand in a status, and must not begin an assignment of its own.
                telling.sendto("\n".join(" ".join(each.splitlines()) for each in assignments).encode(), address)
            except OSError as error:
                log.warning("systemd is not told", assignments=assignments, reason=error.strerror)

    def ready(self, status: str) -> None:
        """Tell that the service is up; `status` is one line for people."""
        self.notify("READY=1", f"STATUS={status}")

    def stopping(self) -> None:
        """Tell that the service ends."""
        self.notify("STOPPING=1", "STATUS=finishing")

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """Tell that the service takes over its configuration, and at the end, however it came, that it is up."""
        self.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            yield
        finally:
            self.notify("READY=1")

    async def keep_telling(self, status: Callable[[], str]) -> None:
        """Tell every status that is new, and that this event loop turns: twice in the time that the watchdog waits."""
        told = ""
        while self._address:
            now = status()
            assignments = ([f"STATUS={now}"] if now != told else []) + (["WATCHDOG=1"] if self._watchdog else [])
            if assignments:
                self.notify(*assignments)
            told = now
            await asyncio.sleep(min(STATUS_INTERVAL, self._watchdog / 2 or STATUS_INTERVAL))

    def listening(self, wanted: Sequence[Where]) -> dict[Where, socket.socket]:
        """Return the sockets that systemd opened, non-blocking; they are the caller's to close. May be called once.

        What it opened beyond `wanted`, or left out, is logged. Raises LocalError for anything but listening TCP.
        """
        opened: dict[Where, socket.socket] = {}
        for descriptor, name in zip(self._descriptors, self._named(), strict=True):
            each = _adopt(descriptor, name)
            where: Where = each.getsockname()[:2]
            opened[where] = each
            if where not in wanted:
                log.warning("systemd listens where `listen` does not; clients who come here wait in vain", **_at(where))
        for where in wanted if opened else ():
            if where not in opened:
                log.warning("systemd does not listen here, so a restart of the gateway leaves a gap", **_at(where))
        return opened

    def _named(self) -> list[str]:
        known = self._names if len(self._names) == len(self._descriptors) else []
        return known or ["unknown"] * len(self._descriptors)


def credential(name: str) -> Path:
    """Return the path of a credential of this service (LoadCredential=), be it there or not.

    Raises LookupError when no credentials were passed.
    """
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if directory is None and not UNIT_CREDENTIALS.is_dir():
        raise LookupError("no credentials were passed ($CREDENTIALS_DIRECTORY is not set)")
    return (Path(directory) if directory else UNIT_CREDENTIALS) / name


def _adopt(descriptor: int, name: str) -> socket.socket:
    refused = f"systemd passed descriptor {descriptor} ({name}), which is no listening TCP socket"
    try:
        adopted = socket.socket(fileno=descriptor)
        listens = adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise LocalError(f"{refused}: {error.strerror}") from error
    if adopted.family not in (socket.AF_INET, socket.AF_INET6) or adopted.type != socket.SOCK_STREAM or not listens:
        raise LocalError(refused)
    if adopted.family == socket.AF_INET6 and not adopted.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        raise LocalError(f"systemd's socket {name} takes IPv4 and IPv6: say BindIPv6Only=ipv6-only in its unit")
    adopted.set_inheritable(False)
    adopted.setblocking(False)
    return adopted


def _at(where: Where) -> dict[str, object]:
    return {"address": where[0], "port": where[1]}
