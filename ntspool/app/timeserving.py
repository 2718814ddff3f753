"""`ntspool timeserver`: the embedded time server, and its NTS-KE server if it has one, until a signal."""

import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog

from ntspool.app.signals import heed_signals
from ntspool.errors import LocalError, StateError
from ntspool.net import eventloop
from ntspool.net.atomic import remove_forgotten
from ntspool.net.daemons import keyfile
from ntspool.net.keserver import KeServer
from ntspool.net.peertoken import SHORTEST
from ntspool.net.secretfile import read_secret
from ntspool.net.servertls import ServerContext, server_context
from ntspool.net.system import forbid_core_dumps, set_up_logs
from ntspool.net.timeserver import TimeServer
from ntspool.net.tls import read_certificate
from ntspool.pool import ownkeys
from ntspool.pool.backendke import BackendKe
from ntspool.pool.cookies import CookieFormat
from ntspool.pool.model import LogSettings
from ntspool.wire.secret import Secret

_LOOK_INTERVAL = 60.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class KeyExchanging:
    """Where to speak NTS-KE, and the files of the certificate chain, its key, and the pools' tokens."""

    listen: Sequence[tuple[str, int]]
    certificate: Path
    private_key: Path
    tokens: Path | None


@dataclass(frozen=True, slots=True)
class TimeServing:
    """What to serve; with `own_keys` the file `keys` is made here, and gets a new key every day."""

    listen: Sequence[tuple[str, int]]
    keys: Path
    own_keys: bool
    stratum: int
    exchanging: KeyExchanging | None


def run(serving: TimeServing) -> None:
    """Serve until SIGTERM or SIGINT; raises LocalError with what to mend."""
    forbid_core_dumps()
    eventloop.run(_serve(serving))


async def _serve(serving: TimeServing) -> None:
    set_up_logs(LogSettings())
    if serving.own_keys:
        renew(serving.keys, time.time())
    server = TimeServer(serving.listen, serving.keys, serving.stratum)
    desk = None if serving.exchanging is None else Desk(serving.exchanging, server)

    def reload() -> None:
        server.reload()
        if desk is not None:
            desk.reload()

    told_to_stop = heed_signals(reload)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server)
        if desk is not None:
            await stack.enter_async_context(KeServer(desk.listen, lambda: desk.context, lambda: desk.answers))
        if serving.own_keys:
            renewing = asyncio.create_task(_keep_renewing(serving.keys))
            stack.callback(renewing.cancel)
        await told_to_stop.wait()


class Desk:
    """What the NTS-KE server answers by, from its files; raises LocalError when one cannot be used."""

    def __init__(self, exchanging: KeyExchanging, server: TimeServer) -> None:
        self.listen = exchanging.listen
        self._exchanging = exchanging
        self._server = server
        self.context: ServerContext
        self._tokens: tuple[Secret, ...]
        self._load()

    @property
    def answers(self) -> BackendKe:
        """What answers now, by the keys that the time server has now."""
        return BackendKe(self._server.jar, self._tokens, self._server.addresses[0][1], os.urandom)

    def reload(self) -> None:
        """Read certificate and tokens again; when they cannot be used, that is logged and the old ones stay."""
        try:
            self._load()
        except LocalError as error:
            log.warning("new certificate and tokens not loaded, the old ones stay", reason=str(error))

    def _load(self) -> None:
        files = self._exchanging
        certificate = read_certificate(files.certificate, files.private_key)
        tokens = () if files.tokens is None else read_tokens(files.tokens)
        self.context, self._tokens = server_context([certificate]), tokens


def read_tokens(path: Path) -> tuple[Secret, ...]:
    """Return the tokens in a file, one a line; raises StateError, quoting none, when one is no token."""
    lines = read_secret(path).reveal().decode("ascii", "replace").split("\n")
    for number, line in enumerate(lines, start=1):
        if line and (len(line) < SHORTEST or not all("!" <= each <= "~" for each in line)):
            raise StateError(f"{path}:{number}: expected a token of at least {SHORTEST} printable ASCII characters")
    return tuple(Secret(line.encode()) for line in lines if line)


def renew(path: Path, now: float) -> None:
    """Put a new key into a key file of ours unless the last is younger than a day; raises StateError."""
    remove_forgotten(path)
    keys = keyfile.read(path, CookieFormat.NTSPOOL)
    if keys is None and path.exists():
        raise StateError(f"{path} is no key file of ntspool's; move it away to have one made")
    # A file from far in the future was written while the clock was wrong.
    if keys is None or abs(now - path.stat().st_mtime) >= ownkeys.LIFE:
        keys = ownkeys.following(keys, Secret(os.urandom(ownkeys.SECRET_LENGTH)))
        keyfile.install(path, CookieFormat.NTSPOOL, keys, now, keyfile.owners_only(path.parent))


async def _keep_renewing(path: Path) -> None:
    while True:
        await asyncio.sleep(_LOOK_INTERVAL)
        try:
            await asyncio.to_thread(renew, path, time.time())
        except StateError as error:
            log.warning("no new key made, the last one stays", reason=str(error))
