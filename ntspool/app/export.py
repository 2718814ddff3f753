"""`ntspool keys export`: the key file of one backend, in its daemon's format."""

import time
from pathlib import Path

from ntspool import config
from ntspool.errors import LocalError, StateError
from ntspool.net import keystore
from ntspool.net.store import FileStore, write_atomically
from ntspool.pool import keyfiles


def key_file(path: Path, name: str) -> bytes:
    """Return the key file of the backend `name` of the configuration at `path`; makes the keyring if there is none.

    Raises LocalError when there is no such backend, ConfigError and StateError as their sources do.
    """
    declared = config.load(path)
    backend = next((each for each in declared.backends if each.name == name), None)
    if backend is None:
        names = ", ".join(each.name for each in declared.backends)
        raise LocalError(f"there is no backend {name!r} in {path}; there are {names}")
    now = time.time()
    keyring = keystore.load_or_create(FileStore(declared.state), now)
    return keyfiles.render(backend.cookies, keyring.keys(backend.key_group, backend.cookies), int(now))


def write(output: Path, contents: bytes) -> None:
    """Write a key file, mode 0600, whole or not at all; raises StateError."""
    try:
        write_atomically(output, contents)
    except OSError as error:
        raise StateError(f"{output} cannot be written: {error.strerror}") from error
