"""`ntspool keys export`, `backup` and `restore`: key files of backends, and the keyring itself, without a gateway."""

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ntspool import config
from ntspool.app import declared
from ntspool.app.sharing import command_store
from ntspool.errors import RefusedError, StateError
from ntspool.net.atomic import write_atomically
from ntspool.net.keystore import KeyStore
from ntspool.net.sealed import read_seal
from ntspool.pool import keyfiles
from ntspool.pool.keyring import Keyring
from ntspool.pool.model import Backend, FixedKey

_WATCH_INTERVAL = 1.0


@contextmanager
def key_store(path: Path) -> Iterator[KeyStore]:
    """Open the keyring's place in the store of the configuration at `path`."""
    with _key_store(config.load(path)) as keys:
        yield keys


def key_file(path: Path, name: str) -> bytes:
    """Return the key file of the backend `name` of the configuration at `path`; makes the keyring if there is none.

    Raises LocalError when there is no such backend, ConfigError and StateError as their sources do.
    """
    stated = config.load(path)
    backend = declared.find_backend(stated, name, path)
    with _key_store(stated) as keys:
        return _render(keys.load_or_create(time.time()), backend)


def watch_directory(path: Path, directory: Path) -> None:
    """Keep a file for every backend of the configuration at `path` fresh in `directory`, until interrupted."""
    seen: tuple[tuple[Backend, ...], Keyring] | None = None
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            stated = config.load(path)
            with _key_store(stated) as keys:
                backends, keyring = declared.backends(stated), keys.load_or_create(time.time())
            if (backends, keyring) != seen:
                for backend in (each for each in backends if not isinstance(each.cookies, FixedKey)):
                    write(directory / backend.name, _render(keyring, backend))
                seen = (backends, keyring)
            time.sleep(_WATCH_INTERVAL)


def read(path: Path) -> bytes:
    """Return a file's bytes; raises StateError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}") from error


def write(output: Path, contents: bytes) -> None:
    """Write a secret file, mode 0600, whole or not at all; raises StateError."""
    try:
        write_atomically(output, contents)
    except OSError as error:
        raise StateError(f"{output} cannot be written: {error.strerror}") from error


@contextmanager
def _key_store(stated: config.Config) -> Iterator[KeyStore]:
    with command_store(stated) as store:
        yield KeyStore(store, read_seal(stated.keys.encryption_key))


def _render(keyring: Keyring, backend: Backend) -> bytes:
    if isinstance(backend.cookies, FixedKey):
        raise RefusedError(f"{backend.name} keeps its own keys (cookies: fixed-key); there are none to export")
    return keyfiles.render(backend.cookies, keyring.keys(backend.key_group, backend.cookies), int(time.time()))
