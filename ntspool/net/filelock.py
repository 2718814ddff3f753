"""A lock that the kernel lets go of when its holder dies."""

import errno
import fcntl
import os
from pathlib import Path

from ntspool.errors import StateError


class FileLock:
    """An flock(2) on a file, which is made, for this user only, when it is missing; what it holds is nobody's matter.

    Child processes do not inherit it. Methods raise StateError when the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self, *, shared: bool = False) -> bool:
        """Take the lock if nobody who minds has it, and tell whether it is held now; never waits."""
        if self._descriptor is not None:
            return True
        try:
            descriptor = self._open()
            try:
                fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                raise
        except BlockingIOError:
            return False
        except OSError as error:
            raise StateError(f"{self._path} cannot be locked: {error.strerror}") from error
        self._descriptor = descriptor
        return True

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
        # A disk that has become read-only since it was made holds nobody up: a lock writes nothing.
        return os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def release(self) -> None:
        """Let go of the lock, if it is held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
