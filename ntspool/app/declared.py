"""From backends.yaml to what the floors below work with."""

import os
from collections.abc import Sequence
from pathlib import Path

from ntspool import config
from ntspool.app.keykeeper import KeySettings
from ntspool.errors import CertificateError
from ntspool.net.checker import CheckSettings
from ntspool.net.tls import read_certificate
from ntspool.pool.access import Access
from ntspool.pool.health import Rules
from ntspool.pool.limits import PrefixLimit
from ntspool.pool.model import Backend, Certificate, LogSettings, SessionRules
from ntspool.pool.shedding import QueueLimit


def backends(declared: config.Config) -> tuple[Backend, ...]:
    """Return the backends of a configuration."""
    return tuple(
        Backend(
            name=each.name,
            addresses=each.address,
            port=each.port,
            weight=each.weight,
            cookies=each.cookies,
            aeads=each.aeads,
            key_group=each.key_group,
        )
        for each in declared.backends
    )


def certificates(declared: config.Config) -> tuple[Certificate, ...]:
    """Read the certificates of a configuration; raises CertificateError that names every one that cannot be used."""
    read, mistakes = [], []
    for each in declared.tls:
        try:
            read.append(read_certificate(each.certificate, each.key))
        except CertificateError as error:
            mistakes.append(str(error))
    if mistakes:
        raise CertificateError("\n".join(mistakes))
    return tuple(read)


def check_settings(declared: config.Config) -> CheckSettings:
    """Return how backends are probed."""
    health = declared.health
    return CheckSettings(health.interval, health.timeout, Rules(health.rise, health.fall))


def session_rules(declared: config.Config, listening: Sequence[config.Listen]) -> SessionRules:
    """Return what holds for every session on the sockets that listen as in `listening`."""
    limits = declared.limits
    return SessionRules(
        timeout=limits.session_timeout,
        limit=limits.sessions,
        access=Access(limits.allow, limits.deny),
        per_address=PrefixLimit(**dict(limits.per_address)),
        per_network=PrefixLimit(**dict(limits.per_network)),
        queue=QueueLimit(limits.queue.target, limits.queue.interval) if limits.queue.target else None,
        proxies=tuple(Access(each.proxy_from) if each.proxy_from else None for each in listening),
    )


def log_settings(declared: config.Config) -> LogSettings:
    """Return how is logged."""
    return LogSettings(declared.log.level, declared.log.format, declared.log.client_addresses)


def key_settings(declared: config.Config) -> KeySettings:
    """Return when keys are rotated, and how long cookies are good."""
    return KeySettings(declared.keys.rotate, declared.keys.life)


def admin_socket(declared: config.Config) -> Path:
    """Return where commands find the gateway."""
    return declared.admin.socket or declared.state / "admin.sock"


def worker_count(declared: config.Config) -> int:
    """Return how many workers to run: as configured, or one for each core that this process may use."""
    return declared.workers or len(os.sched_getaffinity(0))
