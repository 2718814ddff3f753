"""`ntspool agent` as a process: which daemon it serves, its logs, and its end."""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from ntspool.app.agent import Agent
from ntspool.errors import LocalError, StateError
from ntspool.net import eventloop
from ntspool.net.agentclient import AgentClient
from ntspool.net.atomic import remove_forgotten
from ntspool.net.daemons.chrony import Chrony
from ntspool.net.daemons.chronyconf import CONFIGURATION, ChronySetup, contradictions
from ntspool.net.daemons.embedded import Embedded
from ntspool.net.daemons.local import LocalDaemon
from ntspool.net.daemons.restarted import NtpdRs, Ntpsec
from ntspool.net.store import FileStore
from ntspool.net.system import forbid_core_dumps, set_up_logs
from ntspool.net.systemd import Service
from ntspool.pool.cookies import CookieFormat
from ntspool.pool.model import LogSettings

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LocalSetup:
    """The daemon of this machine as the command line tells it; None leaves a choice to the daemon's defaults.

    `daemon` None means whichever daemon the gateway's keys are for; `ntp` is an IP literal and a port.
    """

    daemon: str | None
    key_file: Path | None
    ntp: tuple[str, int]
    chronyc_socket: Path
    restart: Sequence[str] | None
    chrony_conf: Path = CONFIGURATION

    def daemon_for(self, cookies: CookieFormat) -> LocalDaemon:
        """Return the daemon for keys of this format; raises LocalError when another was asked for."""
        if self.daemon is not None and self.daemon != cookies:
            raise LocalError(f"the gateway's keys are for {cookies} and the daemon here is {self.daemon}")
        match cookies:
            case CookieFormat.CHRONY:
                return Chrony(self.key_file or Chrony().key_file, self.chronyc_socket)
            case CookieFormat.NTPSEC:
                return Ntpsec(self.key_file or Ntpsec().key_file, self.restart or Ntpsec().restart)
            case CookieFormat.NTPD_RS:
                return NtpdRs(self.key_file or NtpdRs().key_file, self.restart or NtpdRs().restart)
            case CookieFormat.NTSPOOL:
                return Embedded(self.key_file or Embedded().key_file)

    def warn(self) -> None:
        """Log where chronyd's configuration contradicts what a backend needs."""
        key_directory = (self.key_file or Chrony().key_file).parent
        try:
            found = contradictions(self.chrony_conf, ChronySetup(key_directory, socket=self.chronyc_socket))
        except StateError as error:
            found = [str(error)]
        for each in found:
            log.warning("chronyd's configuration", contradiction=each)


def run(state: Path, setup: LocalSetup) -> None:
    """Run the agent that was enrolled in `state` until SIGTERM or SIGINT; raises LocalError with what to mend."""
    forbid_core_dumps()
    eventloop.run(_run(state, setup))


async def _run(state: Path, setup: LocalSetup) -> None:
    set_up_logs(LogSettings())
    service = Service(os.environ)
    FileStore(state).remove_forgotten()
    client = AgentClient(state)
    agent = Agent(client, _prepared(setup), setup.ntp)
    working = asyncio.create_task(agent.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, working.cancel)
    log.info("agent started", backend=client.backend)
    service.ready(agent.status)
    telling = asyncio.create_task(service.keep_telling(lambda: agent.status))
    try:
        with suppress(asyncio.CancelledError):
            await working
    finally:
        telling.cancel()
        service.stopping()
    log.info("agent stopped", backend=client.backend)


def _prepared(setup: LocalSetup) -> Callable[[CookieFormat], LocalDaemon]:
    """Return `setup.daemon_for`, which does what is to be done when the turn of a daemon first comes.

    It warns about chronyd's configuration, and removes what an agent that was killed has left beside the key file.
    """
    prepared: set[CookieFormat] = set()

    def daemon_for(cookies: CookieFormat) -> LocalDaemon:
        daemon = setup.daemon_for(cookies)
        if cookies not in prepared:
            prepared.add(cookies)
            remove_forgotten(daemon.key_file)
            if cookies is CookieFormat.CHRONY:
                setup.warn()
        return daemon

    return daemon_for
