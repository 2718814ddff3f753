"""`ntspool keys export`, `backup` and `restore`: key files of backends, and the keyring itself, without a gateway."""

import contextlib
import time
from pathlib import Path

from ntspool import config
from ntspool.errors import LocalError, StateError
from ntspool.net.atomic import write_atomically
from ntspool.net.keystore import KeyStore
from ntspool.net.sealed import read_seal
from ntspool.net.store import FileStore
from ntspool.pool import keyfiles
from ntspool.pool.keyring import Keyring

_WATCH_INTERVAL = 1.0


def key_store(path: Path) -> KeyStore:
    """Return the keyring's place in the state directory of the configuration at `path`."""
    return _key_store(config.load(path))


def key_file(path: Path, name: str) -> bytes:
    """Return the key file of the backend `name` of the configuration at `path`; makes the keyring if there is none.

    Raises LocalError when there is no such backend, ConfigError and StateError as their sources do.
    """
    declared = config.load(path)
    backend = next((each for each in declared.backends if each.name == name), None)
    if backend is None:
        names = ", ".join(each.name for each in declared.backends)
        raise LocalError(f"there is no backend {name!r} in {path}; there are {names}")
    return _render(_key_store(declared).load_or_create(time.time()), backend)


def watch_directory(path: Path, directory: Path) -> None:
    """Keep a file for every backend of the configuration at `path` fresh in `directory`, until interrupted."""
    seen: tuple[config.Config, Keyring] | None = None
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            declared = config.load(path)
            keyring = _key_store(declared).load_or_create(time.time())
            if (declared, keyring) != seen:
                for backend in declared.backends:
                    write(directory / backend.name, _render(keyring, backend))
                seen = (declared, keyring)
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


def _key_store(declared: config.Config) -> KeyStore:
    return KeyStore(FileStore(declared.state), read_seal(declared.keys.encryption_key))


def _render(keyring: Keyring, backend: config.Backend) -> bytes:
    return keyfiles.render(backend.cookies, keyring.keys(backend.key_group, backend.cookies), int(time.time()))
