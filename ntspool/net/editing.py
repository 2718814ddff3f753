"""Files that people edit, too, replaced by a command: no change of anybody is lost, and the file stays whose it was."""

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ntspool.errors import LocalError, RefusedError
from ntspool.net.atomic import Access, write_atomically

PATIENCE = 10.0
"""Seconds to wait for other commands that edit the same file; each takes less than one."""

_PAUSE = 0.02


@contextmanager
def only_editor(path: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Keep other commands from editing the file at `path` meanwhile; an editor does not notice.

    The lock is one on the folder of the file, which leaves nothing behind, also where `path` is a link to it. Raises
    RefusedError when others edit for more than `patience` seconds, LocalError when the folder cannot be locked.
    """
    folder = path.resolve().parent
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise LocalError(f"{folder} cannot be locked: {error.strerror}") from error
    try:
        deadline = time.monotonic() + patience
        while not _lock(descriptor):
            if time.monotonic() > deadline:
                raise RefusedError(f"another command has been editing {path} for {patience:g} s; try again")
            time.sleep(_PAUSE)
        yield
    finally:
        os.close(descriptor)


def replace(path: Path, old: bytes, new: bytes) -> None:
    """Put `new` in the place of `old` in the file at `path`, through links; mode, owner and group stay.

    Call it as `only_editor`. Raises RefusedError when the file has changed since `old` was read or is somebody
    else's, LocalError when it cannot be written.
    """
    target = path.resolve()

    def unchanged() -> None:
        if target.read_bytes() != old:
            raise RefusedError(f"somebody else has changed {path} meanwhile; nothing was written, try again")

    try:
        status = target.stat()
        if not _can_give(status.st_uid, status.st_gid):
            raise RefusedError(f"{path} belongs to a user or group that this user cannot give it to; edit it as root")
        access = Access(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
        write_atomically(target, new, access, last_check=unchanged)
    except OSError as error:
        raise LocalError(f"{path} cannot be written: {error.strerror or error}") from error


def _can_give(user: int, group: int) -> bool:
    """Tell whether a file that this process makes can belong to them."""
    return os.geteuid() == 0 or (os.geteuid() == user and group in {os.getegid(), *os.getgroups()})


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
