"""FileStore: what must survive a restart, as small files in the state directory."""

import contextlib
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ntspool.errors import ConflictError, StateError


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
                _refuse_unsafe(path, os.fstat(file.fileno()))
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
                write_atomically(self._directory / name, data, self._directory.stat())
        except OSError as error:
            raise StateError(f"{self._directory} cannot be written: {error.strerror}") from error

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


def write_atomically(path: Path, data: bytes, owner: os.stat_result | None = None) -> None:
    """Replace `path` by `data`, mode 0600, so that a crash leaves the old file or the new one. Raises OSError.

    Run by root, the file is given to `owner`: what root prepares, the service's own user must be able to read.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            if owner is not None and os.geteuid() == 0:
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    """Make a rename in `directory` last beyond a power failure."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_unsafe(path: Path, status: os.stat_result) -> None:
    mode = status.st_mode & 0o777
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise StateError(f"{path} is open to others (mode {mode:04o}); take its keys for stolen, chmod 600 it")
    if status.st_uid not in (0, os.geteuid(), path.parent.stat().st_uid):
        raise StateError(f"{path} belongs to user {status.st_uid}, not to user {os.geteuid()}; find out who wrote it")
