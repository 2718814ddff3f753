"""Files that hold a secret: read if nobody else can get at them, or could have put them there."""

import os
import stat
from pathlib import Path

from ntspool.errors import StateError
from ntspool.wire.secret import Secret

LONGEST = 65536
"""Bytes of the longest file that is read; a chain of certificates with its key is far shorter."""

_ROOT = 0


def read_secret(path: Path) -> Secret:
    """Return what is in a file; raises StateError with what to mend, and nothing of the contents.

    Links are followed, since certbot and orchestrators use them: what counts is the file, the folder that it is in and
    the one that the link is in.
    """
    try:
        # Never wait for the writer of a pipe that somebody put there.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise StateError(f"{path} is not a regular file")
            if status.st_mode & stat.S_IRWXO:
                raise StateError(f"{path} is open to every user; chmod o= it, and take what is in it for stolen")
            for folder in {path.parent, path.resolve().parent}:
                refuse_open_folder(folder, status)
            data = file.read(LONGEST + 1)
    except IsADirectoryError:
        raise StateError(f"{path} is not a regular file") from None
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > LONGEST:
        raise StateError(f"{path} is too long for a file of its kind")
    return Secret(data)


def refuse_open_folder(folder: Path, file: os.stat_result) -> None:
    """Raise StateError if every user could put a file of his own in place of `file`; raises OSError.

    Where folders are sticky, as /tmp is, only a file's owner can do that.
    """
    status = folder.stat()
    if not status.st_mode & stat.S_IWOTH:
        return
    if not status.st_mode & stat.S_ISVTX:
        raise StateError(f"{folder} can be written by every user, who could change what is read there; chmod o-w it")
    if file.st_uid not in {_ROOT, os.geteuid()}:
        raise StateError(f"a file of user {file.st_uid} in {folder}, where every user can put one, is not trusted")
