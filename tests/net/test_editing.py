"""Files that people edit, too: who may replace them, what stays, and whose change wins."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ntspool.errors import LocalError, RefusedError
from ntspool.net import editing
from ntspool.net.editing import only_editor, replace


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "etc" / "file"
    path.parent.mkdir()
    path.write_bytes(b"old")
    return path


def test_mode_and_link_stay(file, tmp_path):
    file.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(Path("etc") / "file")
    replace(link, b"old", b"new")
    assert file.read_bytes() == b"new"
    assert os.readlink(link) == "etc/file"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_owner_and_group_stay(file):
    os.chown(file, 12345, 23456)
    replace(file, b"old", b"new")
    assert (file.stat().st_uid, file.stat().st_gid) == (12345, 23456)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize(("user", "groups", "may"), [(7, [8], True), (9, [8], False), (7, [9], False), (0, [], True)])
def test_a_file_that_would_get_another_owner_is_refused(file, monkeypatch, user, groups, may):
    os.chown(file, 7, 8)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(os, "getgroups", lambda: groups)
    if may:
        replace(file, b"old", b"new")
        assert (file.read_bytes(), file.stat().st_gid) == (b"new", 8)
        return
    with pytest.raises(RefusedError, match="belongs to a user or group that this user cannot give it to"):
        replace(file, b"old", b"new")
    assert file.read_bytes() == b"old"


def test_a_change_in_between_is_not_lost(file, monkeypatch):
    with pytest.raises(RefusedError, match=r"somebody else has changed .* meanwhile; nothing was written"):
        replace(file, b"older", b"new")
    write = os.fsync

    def meddle(descriptor):
        file.write_bytes(b"theirs")
        write(descriptor)

    monkeypatch.setattr(os, "fsync", meddle)  # as late as can be: all is written, and only the renaming is left
    with pytest.raises(RefusedError):
        replace(file, b"old", b"new")
    assert file.read_bytes() == b"theirs"
    assert list(file.parent.iterdir()) == [file]


def test_what_the_disk_refuses_is_told(file):
    file.unlink()
    with pytest.raises(LocalError, match="file cannot be written: No such file or directory"):
        replace(file, b"old", b"new")
    file.parent.rmdir()
    with pytest.raises(LocalError, match="etc cannot be locked: No such file or directory"), only_editor(file):
        pass


def test_there_is_one_editor_at_a_time(file, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(file)
    with (
        only_editor(file),
        pytest.raises(RefusedError, match=r"another command has been editing .*link for 0 s; try again"),
        only_editor(link, patience=0),
    ):
        pass
    with only_editor(link, patience=0):
        pass


def test_editors_wait_for_each_other(file, monkeypatch):
    monkeypatch.setattr(editing, "_PAUSE", 0.001)

    def append(byte: int) -> None:
        with only_editor(file):
            old = file.read_bytes()
            replace(file, old, old + bytes([byte]))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(append, range(32)))
    assert sorted(file.read_bytes()[3:]) == list(range(32))
