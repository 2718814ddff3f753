"""Key files are written for the daemon's user, whole or not at all, and never through what somebody put there."""

import os
import stat

import pytest

from ntspool.errors import StateError
from ntspool.net.daemons import keyfile
from ntspool.net.daemons.chrony import Chrony
from ntspool.pool.cookies import CookieFormat, ServerKey
from ntspool.pool.keyfiles import KeySet, render
from ntspool.wire.secret import Secret

KEYS = KeySet(tuple(ServerKey(number, Secret(bytes([number]) * 32)) for number in range(4)), 2)
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def access(path):
    status = path.stat()
    return keyfile.Access(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)


@AS_ROOT
def test_the_file_belongs_to_the_owner_of_its_directory(tmp_path):
    os.chown(tmp_path, 1234, 4321)
    path = tmp_path / "ntskeys"
    keyfile.install(path, CookieFormat.CHRONY, KEYS, 0, keyfile.owners_only(tmp_path))
    assert access(path) == keyfile.Access(0o600, 1234, 4321)


@AS_ROOT
def test_the_file_can_be_left_to_the_group_to_read(tmp_path):
    os.chown(tmp_path, 1234, 4321)
    keyfile.write(tmp_path / "keys", b"x", keyfile.groups_to_read(tmp_path))
    assert access(tmp_path / "keys") == keyfile.Access(0o640, 0, 4321)


def test_nothing_is_written_through_a_link_or_another_name_of_a_file(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"precious")
    path = tmp_path / "ntskeys"
    path.symlink_to(elsewhere)
    temporary = tmp_path / f".ntskeys.{os.getpid()}.tmp"
    temporary.hardlink_to(elsewhere)
    keyfile.write(path, b"secret", keyfile.owners_only(tmp_path))
    assert (elsewhere.read_bytes(), path.read_bytes(), path.is_symlink()) == (b"precious", b"secret", False)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["elsewhere", "ntskeys"]


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "ntskeys").mkdir()
    with pytest.raises(StateError, match="ntskeys cannot be written: Is a directory"):
        keyfile.write(tmp_path / "ntskeys", b"secret", keyfile.owners_only(tmp_path))
    assert [each.name for each in tmp_path.iterdir()] == ["ntskeys"]


def test_a_missing_directory_is_the_daemons_to_make(tmp_path):
    with pytest.raises(StateError, match="nowhere is not there"):
        keyfile.owners_only(tmp_path / "nowhere")


def test_keys_for_another_daemon_are_not_written(tmp_path):
    with pytest.raises(StateError, match="no key file for ntpd-rs"):
        keyfile.install(tmp_path / "keys", CookieFormat.NTPD_RS, KEYS, 0, keyfile.owners_only(tmp_path))
    assert not (tmp_path / "keys").exists()


def test_what_is_installed_is_read_again(tmp_path):
    keyfile.install(tmp_path / "ntskeys", CookieFormat.CHRONY, KEYS, 0, keyfile.owners_only(tmp_path))
    assert Chrony(tmp_path / "ntskeys").installed() == KEYS


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 100_000,
        render(CookieFormat.CHRONY, KEYS, 0)[:-80],
        b"NKS1\n0.0\n" + b"".join(b"%d " % number + b"AB" * 16 + b" 30\n" for number in range(4)),
    ],
    ids=["empty", "long", "cut", "AEAD 30"],
)
def test_a_file_that_is_none_of_ours_holds_no_keys(tmp_path, data):
    (tmp_path / "ntskeys").write_bytes(data)
    assert Chrony(tmp_path / "ntskeys").installed() is None
    assert Chrony(tmp_path / "nowhere").installed() is None
