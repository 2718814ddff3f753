"""From backends.yaml to what the floors below work with."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ntspool import config
from ntspool.app.keykeeper import KeySettings
from ntspool.app.publishing import PublishSettings
from ntspool.config.publishing import reachable
from ntspool.errors import CertificateError, LocalError
from ntspool.net.admin import AdminPlaces
from ntspool.net.checksettings import CheckSettings
from ntspool.net.historywriter import Bounds
from ntspool.net.peertoken import read_token
from ntspool.net.resolver import recall
from ntspool.net.store import FileStore
from ntspool.net.tls import read_certificate
from ntspool.pool import discovery
from ntspool.pool.access import Access
from ntspool.pool.cookies import CookieFormat
from ntspool.pool.discovery import Declared, Discovered, Entry
from ntspool.pool.health import Rules
from ntspool.pool.limits import PrefixLimit
from ntspool.pool.model import FIXED_KEY, Backend, Certificate, FixedKey, LogSettings, Selection, SessionRules
from ntspool.pool.names import Names
from ntspool.pool.publishing import Gateway, Publication
from ntspool.pool.resolving import DnsSettings
from ntspool.pool.sample import Limits
from ntspool.pool.shedding import QueueLimit
from ntspool.wire.secret import NO_SECRET

FIXED: Mapping[str, Callable[[config.Config], object]] = {
    "listen": lambda declared: declared.listen,
    "state": lambda declared: declared.state,
    "store": lambda declared: declared.store,
    "gateway.name": lambda declared: declared.gateway.name,
    "admin": lambda declared: declared.admin,
    "control": lambda declared: declared.control,
    "status": lambda declared: declared.status,
    "keys.encryption_key": lambda declared: declared.keys.encryption_key,
}
"""What a reload does not take over."""


def entries(declared: config.Config) -> tuple[Entry, ...]:
    """Return the backends of a configuration, with names in place of what is to be resolved.

    Raises LocalError when a token or a certificate authority is not there any more.
    """
    return tuple(map(_entry, declared.backends))


def backends(declared: config.Config) -> tuple[Backend, ...]:
    """Return the backends of a configuration as they were last resolved by a gateway, for commands without one.

    Raises StateError.
    """
    found, _ = discovery.backends(entries(declared), recall(FileStore(declared.state)))
    return found


def find_backend(declared: config.Config, name: str, path: Path) -> Backend:
    """Return the backend `name` of the configuration read from `path`; raises LocalError when there is none."""
    known = backends(declared)
    found = next((each for each in known if each.name == name), None)
    if found is None:
        names = ", ".join(each.name for each in known)
        raise LocalError(f"there is no backend {name!r} in {path}; there are {names}")
    return found


def _entry(declared: config.Backend) -> Entry:
    fixed = declared.cookies == FIXED_KEY
    backend = Backend(
        name=declared.name,
        addresses=tuple(each for each in declared.address if not isinstance(each, str)),
        port=declared.port,
        weight=declared.weight,
        cookies=_fixed_key(declared) if fixed else CookieFormat(declared.cookies),
        aeads=declared.aeads,
        key_group="" if fixed else declared.key_group,
        regions=declared.region,
    )
    if declared.srv:
        stated = declared.model_fields_set & {"port", "weight"} | {f"ke.{key}" for key in declared.ke.model_fields_set}
        return Discovered(declared.srv, backend, frozenset(stated))
    return Declared(backend, tuple(each for each in declared.address if isinstance(each, str)))


def _fixed_key(declared: config.Backend) -> FixedKey:
    """Return how a backend is asked for cookies; the name that its certificate must cover is where it is found."""
    ke = declared.ke
    host = "" if ke.host is None else str(ke.host)
    # An SRV entry has no address, and its targets go by their own names (see pool/discovery.py).
    by_name = next((each for each in declared.address if isinstance(each, str)), None)
    name = host or by_name or str(next(iter(declared.address), ""))
    token = read_token(ke.token) if ke.token else NO_SECRET
    return FixedKey(name, token, ke.port, host, _authorities(ke.ca))


def _authorities(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}") from error


def dns_settings(declared: config.Config) -> DnsSettings:
    """Return which DNS servers are asked, and how long."""
    return DnsSettings(tuple((each.host, each.port) for each in declared.dns.servers), declared.dns.timeout)


def publishing(declared: config.Config, listening: Sequence[config.Listen]) -> PublishSettings | None:
    """Return what is published of a gateway that listens as in `listening`, None for nothing."""
    publish = declared.dns.publish
    if publish.server is None or publish.key is None:
        return None
    own = Gateway(
        addresses=publish.addresses or tuple(filter(None, (reachable(each.address.host) for each in listening))),
        host=publish.host,
        port=listening[0].address.port,
        priority=publish.priority,
        weight=publish.weight,
    )
    names = publish.names or (*declared.pool.names, *(name for name, _ in declared.groups))
    publication = Publication(names, own, publish.ttl, publish.slots)
    return PublishSettings(
        (publish.server.host, publish.server.port), publish.key, publish.zone, publication, publish.withdrawn
    )


def selection(declared: config.Config) -> Selection:
    """Return how a client's backend is selected."""
    names = Names(declared.pool.names, dict(declared.pins), dict(declared.groups))
    database = declared.regions.database
    return Selection(declared.balance, names, str(database) if database else "")


def history_bounds(declared: config.Config) -> Bounds:
    """Return how much of the past is kept on disk."""
    history = declared.history
    return Bounds(history.keep, history.probes, history.size)


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
    return CheckSettings(
        interval=health.interval,
        timeout=health.timeout,
        rules=Rules(health.rise, health.fall),
        fast_interval=health.fast_interval,
        down_interval=health.down_interval,
        slow_start=health.slow_start,
        panic=health.panic / 100,
        max_offset=health.max_offset,
        limits=Limits(health.max_stratum, health.max_distance),
    )


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


def admin_places(declared: config.Config) -> AdminPlaces:
    """Return where the admin API is, and who may use it."""
    listen = [(each.host, each.port) for each in declared.admin.listen]
    return AdminPlaces(admin_socket(declared), declared.admin.group, listen)


def worker_count(declared: config.Config) -> int:
    """Return how many workers to run: as configured, or one for each core that this process may use."""
    return declared.workers or len(os.sched_getaffinity(0))
