"""What the operating system gives a process: logs to standard error, listening sockets."""

import logging
import socket
import sys

import structlog

from ntspool.pool.model import LogSettings

BACKLOG = 4096
"""Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn."""


def for_people(settings: LogSettings) -> bool:
    """Tell whether logs are for people to read, and not JSON."""
    return settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())


def set_up_logs(settings: LogSettings) -> None:
    """Make structlog write one line an event to standard error; may be called again to change the settings."""
    # Tracebacks without local variables: those hold keys.
    console = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    machines = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(console if for_people(settings) else machines),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a non-blocking TCP socket that listens on an IP literal; raises OSError.

    An IPv6 socket takes IPv6 only, so that `[::]` and `0.0.0.0` can stand beside each other.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.setblocking(False)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening
