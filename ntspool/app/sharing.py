"""What gateways of one pool share, and where: from backends.yaml to the store."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ntspool import config
from ntspool.app import operating
from ntspool.config import yamlfile
from ntspool.errors import StateError
from ntspool.net import authority, enrolment, keystore, turnstile
from ntspool.net.etcd import EtcdSettings
from ntspool.net.mirror import Shared
from ntspool.net.remote import Remote, RemoteStore
from ntspool.net.secretfile import read_secret
from ntspool.net.store import FileStore, Store
from ntspool.wire.secret import NO_SECRET, Secret

BACKENDS = config.SHARED_BACKENDS
"""The entry with the backends, as in backends.yaml, once somebody has taken them in."""

SHARED = Shared(
    names=frozenset(
        {
            *(keystore.ENTRY, keystore.MADE, authority.ENTRY, enrolment.ENTRY, turnstile.ENTRY, operating.ENTRY),
            BACKENDS,
        }
    ),
    secret=frozenset({keystore.ENTRY, authority.ENTRY}),
    first=keystore.ENTRY,
)
"""The entries that are the pool's, and not one gateway's own."""


def is_shared(declared: config.Config) -> bool:
    """Tell whether this gateway shares its pool with others."""
    return bool(declared.store.etcd)


def gateway_name(declared: config.Config) -> str:
    """Return how the other gateways know this one."""
    return declared.gateway.name or socket.gethostname()[:99]


def etcd_settings(stated: config.Store) -> EtcdSettings:
    """Return where the shared store is and as whom to ask it; raises StateError for files that cannot be used."""
    return EtcdSettings(
        endpoints=stated.etcd,
        prefix=stated.prefix,
        user=stated.user or "",
        password=_password(stated.password) if stated.password else NO_SECRET,
        tls=_tls(stated),
    )


@contextmanager
def command_store(declared: config.Config) -> Iterator[Store]:
    """Open the store for a command: the state directory, or what the gateways share. Raises StateError."""
    local = FileStore(declared.state)
    if not is_shared(declared):
        yield local
        return
    remote = Remote(etcd_settings(declared.store))
    try:
        yield RemoteStore(remote, local)
    finally:
        remote.close()


def fetch_backends(path: Path) -> None:
    """Have a copy of the cluster's backends in the state folder, if the file at `path` needs them to be whole.

    Raises ConfigError for a file that is no YAML, and StateError; other mistakes are for `config.load` to tell.
    """
    document = yamlfile.read(path)
    copy = config.shared_backends(document)
    if copy is None or copy.exists() or ("backends",) in document.lines:
        return
    try:
        stated = config.Store.model_validate(document.at("store"), context={"folder": document.folder})
    except ValueError:
        return
    remote = Remote(etcd_settings(stated))
    try:
        held = remote.run(lambda etcd: etcd.get(BACKENDS))
    finally:
        remote.close()
    if held is not None:
        FileStore(copy.parent).put_if(BACKENDS, held.data, None)


def _tls(stated: config.Store) -> ssl.SSLContext | None:
    if all(each.startswith("http:") for each in stated.etcd):
        return None
    try:
        context = ssl.create_default_context(cafile=stated.ca)
        if stated.certificate and stated.key:
            # Read for its rules only: the standard library wants the file.
            read_secret(stated.key)
            context.load_cert_chain(stated.certificate, stated.key)
    except OSError as error:
        named = ", ".join(str(each) for each in (stated.ca, stated.certificate, stated.key) if each)
        reason = getattr(error, "reason", None) or error.strerror
        raise StateError(f"TLS with the cluster's store cannot be set up from {named}: {reason}") from error
    return context


def _password(path: Path) -> Secret:
    try:
        text = read_secret(path).reveal().decode().strip()
    except UnicodeDecodeError:  # no cause: it would hold the password
        raise StateError(f"{path} holds no password: it is not UTF-8") from None
    if not text:
        raise StateError(f"{path} holds no password: it is empty")
    return Secret(text.encode())
