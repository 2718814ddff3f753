"""Files that a crash leaves old or new, never torn."""

import glob
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Access:
    """Who may get at a file: its mode, and what root makes its owner and group; others its group, if they may."""

    mode: int
    user: int
    group: int


def owners_only(directory: Path) -> Access:
    """Return access for nobody but the owner of `directory`; raises OSError."""
    status = directory.stat()
    return Access(0o600, status.st_uid, status.st_gid)


def write_atomically(
    path: Path, data: bytes, access: Access | None = None, last_check: Callable[[], None] | None = None
) -> None:
    """Replace `path` by `data`, by default for nobody but this user; raises OSError.

    Safe in a directory that belongs to somebody less trusted: nothing is written through what is there already.
    `last_check` is called when all is written and only the renaming is left; what it raises leaves `path` as it is.
    """
    remove_forgotten(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with suppress(FileNotFoundError):
        temporary.unlink()
    try:
        _write_new(temporary, data, access)
        if last_check is not None:
            last_check()
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def remove_forgotten(path: Path) -> None:
    """Remove what writers of `path` have left that were killed: it may be as secret as `path`.

    What cannot be removed stays: somebody else may have put it there.
    """
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        writer = temporary.name.split(".")[-2]
        if writer.isdecimal() and not _runs(int(writer)):
            with suppress(OSError):
                temporary.unlink()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _write_new(path: Path, data: bytes, access: Access | None) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        if access is not None:
            _give(descriptor, access)
        os.fchmod(descriptor, 0o600 if access is None else access.mode)
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _give(descriptor: int, access: Access) -> None:
    if os.geteuid() == 0:
        os.fchown(descriptor, access.user, access.group)
        return
    with suppress(PermissionError):
        os.fchown(descriptor, -1, access.group)


def _sync_directory(directory: Path) -> None:
    """Make a rename in `directory` last beyond a power failure."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
