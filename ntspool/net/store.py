"""Where a gateway keeps what must survive a restart: small entries, in files of the state directory if it is alone."""

import contextlib
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from ntspool.errors import ConflictError, StateError
from ntspool.net.atomic import owners_only, write_atomically
from ntspool.net.secretfile import refuse_open_folder


class Store(Protocol):
    """Entries by name: FileStore, or with other gateways those that they share (net/mirror.py).

    Every method raises StateError. It may wait for the disk or for another machine: no event loop should call it but
    through a thread, unless it is known to be a file's.
    """

    def get(self, name: str) -> tuple[bytes, str] | None:
        """Return an entry's bytes and its revision, or None when there is none."""
        ...

    def put_if(self, name: str, data: bytes, revision: str | None) -> None:
        """Write an entry if it still has `revision` (None: if it does not exist yet); raises ConflictError if not."""
        ...


class FileStore:
    """Entries in one directory, each a file of mode 0600, written by temporary file, fsync and rename.

    The directory is made when it is missing. Every method raises StateError with what to do when the disk refuses,
    or when an entry could have been read or written by others.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, name: str) -> tuple[bytes, str] | None:
        """Return an entry's bytes and its revision, or None when there is none."""
        path = self._directory / name
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                _refuse_unsafe(path, status)
                refuse_open_folder(self._directory, status)
                data = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(f"{path} cannot be read: {error.strerror}") from error
        return data, hashlib.sha256(data).hexdigest()

    def put_if(self, name: str, data: bytes, revision: str | None) -> None:
        """Write an entry if it still has `revision` (None: if it does not exist yet); raises ConflictError if not."""
        self._make_directory()
        try:
            with self._lock():
                held = self.get(name)
                if (held and held[1]) != revision:
                    raise ConflictError(f"{self._directory / name} was changed by somebody else")
                for torn in self._directory.glob(f".{name}.*.tmp"):
                    # Nobody else writes while we hold the lock: whoever left it was killed, and it may be secret.
                    torn.unlink()
                # What root prepares, the service's own user must be able to read.
                write_atomically(self._directory / name, data, owners_only(self._directory))
        except OSError as error:
            raise StateError(f"{self._directory} cannot be written: {error.strerror}") from error

    def remove_forgotten(self) -> None:
        """Remove what writers of any entry have left that were killed; what cannot be removed stays."""
        with contextlib.suppress(OSError), self._lock():
            for torn in self._directory.glob(".*.*.tmp"):
                torn.unlink()

    def _make_directory(self) -> None:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(f"{self._directory} cannot be made: {error.strerror}") from error

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold off other writers of this machine; the kernel lets go when a process dies."""
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _refuse_unsafe(path: Path, status: os.stat_result) -> None:
    mode = status.st_mode & 0o777
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise StateError(f"{path} is open to others (mode {mode:04o}); take its keys for stolen, chmod 600 it")
    if status.st_uid not in (0, os.geteuid(), path.parent.stat().st_uid):
        raise StateError(f"{path} belongs to user {status.st_uid}, not to user {os.geteuid()}; find out who wrote it")
