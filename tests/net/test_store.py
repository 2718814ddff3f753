"""FileStore: nothing is lost, nothing is torn, nothing is open to others."""

import multiprocessing
import os
import subprocess
from pathlib import Path

import pytest

from ntspool.errors import ConflictError, StateError
from ntspool.net.atomic import write_atomically
from ntspool.net.store import FileStore


@pytest.fixture
def store(tmp_path):
    return FileStore(tmp_path / "state")


def test_what_was_put_is_got_with_a_revision(store):
    assert store.get("keyring") is None
    store.put_if("keyring", b"one", None)
    data, revision = store.get("keyring")
    assert data == b"one"
    store.put_if("keyring", b"two", revision)
    assert store.get("keyring")[0] == b"two"


def test_an_entry_that_somebody_else_changed_is_not_overwritten(store):
    store.put_if("keyring", b"one", None)
    with pytest.raises(ConflictError, match="was changed by somebody else"):
        store.put_if("keyring", b"other", None)
    with pytest.raises(ConflictError):
        store.put_if("keyring", b"other", "0" * 64)
    assert store.get("keyring")[0] == b"one"


def test_files_are_0600_whatever_the_umask_and_the_directory_0700(store, tmp_path):
    before = os.umask(0)
    try:
        store.put_if("keyring", b"one", None)
    finally:
        os.umask(before)
    assert (tmp_path / "state" / "keyring").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_an_entry_open_to_others_is_refused_and_stays(store, tmp_path, mode):
    store.put_if("keyring", b"one", None)
    path = tmp_path / "state" / "keyring"
    path.chmod(mode)
    with pytest.raises(StateError, match=rf"keyring is open to others \(mode {mode:04o}\)"):
        store.get("keyring")
    with pytest.raises(StateError):
        store.put_if("keyring", b"two", None)
    assert path.read_bytes() == b"one"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_a_stranger_is_refused(store, tmp_path):
    store.put_if("keyring", b"one", None)
    os.chown(tmp_path / "state" / "keyring", 12345, 12345)
    with pytest.raises(StateError, match="belongs to user 12345, not to user 0"):
        store.get("keyring")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_writes_belongs_to_the_owner_of_the_directory(store, tmp_path):
    (tmp_path / "state").mkdir(mode=0o700)
    os.chown(tmp_path / "state", 12345, 23456)
    store.put_if("keyring", b"one", None)
    status = (tmp_path / "state" / "keyring").stat()
    assert (status.st_uid, status.st_gid) == (12345, 23456)
    assert store.get("keyring")[0] == b"one"


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def dead():
    """The id of a process that is no more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_what_a_killed_writer_left_goes_with_the_next_write_and_what_a_live_one_writes_stays(tmp_path, dead):
    path = tmp_path / "keys[1]"
    left = [f".keys[1].{dead}.tmp", f".keys[1].{os.getppid()}.tmp", f".keys[1].{2**80}.tmp", f".keys1.{dead}.tmp"]
    for name in left:
        (tmp_path / name).touch()
    write_atomically(path, b"new")
    assert {each.name for each in tmp_path.iterdir()} == {path.name, left[1], left[3]}


def test_what_somebody_else_put_there_does_not_keep_a_file_from_being_written(tmp_path, dead):
    (tmp_path / f".keys.{dead}.tmp").mkdir()
    (tmp_path / ".keys.x.tmp").touch()
    write_atomically(tmp_path / "keys", b"new")
    assert (tmp_path / "keys").read_bytes() == b"new"


def test_what_killed_writers_of_any_entry_left_is_removed_and_nothing_else(store, tmp_path):
    store.remove_forgotten()
    assert not (tmp_path / "state").exists()
    store.put_if("keyring", b"one", None)
    for name in (".keyring.1.tmp", ".events.4194304.tmp", "history.db", ".other"):
        (tmp_path / "state" / name).touch()
    store.remove_forgotten()
    assert {each.name for each in (tmp_path / "state").iterdir()} == {"keyring", "history.db", ".other"}


def test_what_the_disk_refuses_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match=r"state cannot be made: Not a directory"):
        FileStore(tmp_path / "file" / "state").put_if("keyring", b"one", None)
    (tmp_path / "keyring").mkdir()
    with pytest.raises(StateError, match="keyring cannot be read: Is a directory"):
        FileStore(tmp_path).get("keyring")


def _add_one(directory: Path, times: int) -> None:
    store = FileStore(directory)
    while times:
        held = store.get("count")
        try:
            store.put_if("count", str(int(held[0]) + 1).encode(), held[1])
        except ConflictError:
            continue
        times -= 1


def test_writers_at_the_same_time_lose_nothing(tmp_path):
    store = FileStore(tmp_path)
    store.put_if("count", b"0", None)
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_add_one, args=(tmp_path, 25)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
        assert writer.exitcode == 0
    assert store.get("count")[0] == b"75"
