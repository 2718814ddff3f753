"""Writing and reading a daemon's key file, which that daemon's own user must be able to read."""

import os
from pathlib import Path

from ntspool.errors import StateError, WireError
from ntspool.net.atomic import Access, write_atomically
from ntspool.pool.cookies import SERVER_AEAD, CookieFormat
from ntspool.pool.keyfiles import MAX_FILE_LENGTH, KeySet, parse, render


def owners_only(directory: Path) -> Access:
    """Return access for nobody but the owner of `directory`, who is the daemon's user; raises StateError."""
    status = _status(directory)
    return Access(0o600, status.st_uid, status.st_gid)


def groups_to_read(directory: Path) -> Access:
    """Return access for root to write and for the group of `directory` to read; raises StateError."""
    return Access(0o640, 0, _status(directory).st_gid)


def write(path: Path, data: bytes, access: Access) -> None:
    """Replace `path` by `data`, whole or not at all; raises StateError."""
    try:
        write_atomically(path, data, access)
    except OSError as error:
        raise StateError(f"{path} cannot be written: {error.strerror}") from error


def read(path: Path, cookie_format: CookieFormat) -> KeySet | None:
    """Return the keys in a key file; None when there is none, the daemon could not load it, or it cannot be ours."""
    try:
        with path.open("rb") as file:
            keys = parse(cookie_format, file.read(MAX_FILE_LENGTH + 1))
    except (OSError, WireError):
        return None
    length = SERVER_AEAD[cookie_format].key_length
    return keys if all(len(key.secret) == length for key in keys.keys) else None


def install(path: Path, cookie_format: CookieFormat, keys: KeySet, now: float, access: Access) -> None:
    """Write a key file in the daemon's format; raises StateError, also for keys that are not for this daemon."""
    try:
        data = render(cookie_format, keys, int(now))
    except ValueError as error:
        raise StateError(f"these keys make no key file for {cookie_format}: {error}") from error
    write(path, data, access)


def _status(directory: Path) -> os.stat_result:
    try:
        return directory.stat()
    except OSError as error:
        raise StateError(
            f"{directory} is not there ({error.strerror}): the daemon makes it, install that first"
        ) from error
