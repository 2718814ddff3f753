"""What the operating system gives a process: logs to standard error, listening sockets."""

import json
import logging
import os
import resource
import socket
import sys
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO, cast

import structlog
from structlog.typing import Processor

from ntspool.errors import LocalError
from ntspool.pool.model import LogSettings

BACKLOG = 4096
"""Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn."""


Where = tuple[str, int]
"""Address (an IP literal) and port that a socket listens on."""


_STDERR = 2


class StandardError:
    """Where lines of the log go: a line that it does not take is lost, and no session or probe with it.

    What was lost is counted, and told once lines are taken again. It is not sys.stderr, which keeps what it could not
    write and fails with it again, even at the end of the process.
    """

    def __init__(self) -> None:
        self._lost = 0
        self._torn = False

    def write(self, lines: str) -> None:
        """Write whole lines; never raises."""
        if sys.__stderr__ is None:  # closed from the start: the descriptor may be anybody's
            return
        data = ("\n" * self._torn + self._notice() + lines).encode(errors="backslashreplace")
        try:
            while data:
                data = data[os.write(_STDERR, data) :]
                self._torn = bool(data)
        except OSError:
            self._lost += lines.count("\n")
            return
        self._lost = 0

    def _notice(self) -> str:
        """Return the line that tells what was lost, if anything was."""
        if not self._lost:
            return ""
        # By hand: structlog holds a lock around `write`, and would wait for itself.
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        told = {"lines": self._lost, "event": "log lines lost", "level": "warning", "timestamp": now}
        return json.dumps(told) + "\n"

    def flush(self) -> None:
        """Do nothing: nothing is kept back."""


stderr = StandardError()


def for_people(settings: LogSettings) -> bool:
    """Tell whether logs are for people to read, and not JSON."""
    return settings.format == "console" or (settings.format == "auto" and os.isatty(_STDERR))


def set_up_logs(settings: LogSettings, record: Processor | None = None) -> None:
    """Make structlog write one line an event to standard error; may be called again to change the settings.

    `record` sees every line from `info` on, those too that `settings` keep out of the log.
    """
    # Tracebacks without local variables: those hold keys.
    console = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    machines = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    recording: list[Processor] = [] if record is None else [record, _Above(level)]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            *recording,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(console if for_people(settings) else machines),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level if record is None else min(level, logging.INFO)),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", stderr)),
        cache_logger_on_first_use=False,
    )


class _Above:
    """Drops what is below a level, behind those who want to see it all the same."""

    def __init__(self, level: int) -> None:
        self._level = level

    def __call__(self, _logger: object, _method: str, words: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if logging.getLevelNamesMapping()[str(words["level"]).upper()] < self._level:
            raise structlog.DropEvent
        return words


def forbid_core_dumps() -> None:
    """Have the kernel write no image of this process, or of those that it starts, when one crashes: it holds keys.

    The limit is one byte: Linux heeds 0 where a core is a file, and 1 also where it goes to a program (core(5)).
    """
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    least = 0 if limits[1] == 0 else 1
    # Where a service manager has seen to it, its sandbox may not let us.
    if limits != (least, least):
        resource.setrlimit(resource.RLIMIT_CORE, (least, least))


def raise_descriptor_limit() -> None:
    """Let this process have as many descriptors as the system grants: it is one for each session that is open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def listen(host: str, port: int, beside: Iterable[socket.socket] = ()) -> socket.socket:
    """Return a non-blocking TCP socket that listens on an IP literal; raises OSError.

    An IPv6 socket takes IPv6 only, so that `[::]` and `0.0.0.0` can stand beside each other. The port may be that of
    sockets of ours `beside` it, which soon are to be closed: one for all addresses and one for a single address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    rivals = [each for each in beside if each.getsockname()[1] == port]
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for each in (listening, *rivals) if rivals else ():
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.setblocking(False)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def listen_on(wanted: Sequence[Where], inherited: Mapping[Where, socket.socket]) -> list[socket.socket]:
    """Return sockets that listen on what is wanted, inherited ones if they do; the other inherited ones are closed.

    Raises LocalError, with every socket closed.
    """
    sockets: list[socket.socket] = []
    spare = [each for where, each in inherited.items() if where not in wanted]
    try:
        for where in wanted:
            sockets.append(inherited.get(where) or listen(*where, beside=spare))
    except OSError as error:
        for each in (*inherited.values(), *sockets):
            each.close()
        raise LocalError(f"cannot listen on {where[0]} port {where[1]}: {error.strerror}") from error
    for each in spare:
        each.close()
    return sockets
