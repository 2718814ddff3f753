"""Locks between open files, which is what they are between processes."""

import asyncio
import errno
import os
import subprocess
import sys

import pytest

from ntspool.errors import StateError
from ntspool.net.filelock import FileLock
from tests.waiting import until


def test_one_alone_or_many_together(tmp_path):
    first, second, third = (FileLock(tmp_path / "lock") for _ in range(3))
    assert first.take()
    assert first.take()
    assert not second.take()
    assert not second.take(shared=True)
    first.release()
    first.release()
    assert second.take(shared=True)
    assert third.take(shared=True)
    assert not first.take()
    second.release()
    assert not first.take()
    third.release()
    assert first.take()
    first.release()


def test_it_ends_with_its_holder(tmp_path):
    lock = FileLock(tmp_path / "lock")
    code = (
        "import sys, pathlib; from ntspool.net.filelock import FileLock\n"
        "lock = FileLock(pathlib.Path(sys.argv[1])); print(lock.take(), flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"True\n"
        assert not lock.take()
        holder.kill()
    assert lock.take()
    lock.release()


def test_children_do_not_inherit_it(tmp_path):
    lock, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert lock.take()
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, close_fds=False):
        lock.release()
        # While a child becomes another program it holds all descriptors for a moment.
        asyncio.run(until(other.take))
    other.release()


def test_a_file_that_cannot_be_locked_is_told(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("link", "missing/lock"):
        with pytest.raises(StateError, match=rf"{name} cannot be locked: "):
            FileLock(tmp_path / name).take()
    assert not (tmp_path / "elsewhere").exists()


def test_a_disk_that_has_become_read_only_holds_nobody_up(tmp_path, monkeypatch):
    (tmp_path / "lock").touch(0o600)
    opened = os.open

    def read_only(path, flags, *mode):
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, "Read-only file system")
        return opened(path, flags, *mode)

    monkeypatch.setattr(os, "open", read_only)
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.take()
    assert not second.take()
    first.release()
