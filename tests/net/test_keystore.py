"""The keyring in the store."""

import pytest

from ntspool.errors import ConflictError, StateError
from ntspool.net import keystore
from ntspool.net.store import FileStore


def test_a_missing_keyring_is_made_once(tmp_path):
    store = FileStore(tmp_path)
    fresh = keystore.load_or_create(store, 0.0)
    assert keystore.load_or_create(store, 0.0) == fresh
    assert [epoch.number for epoch in fresh.epochs] == [1, 2, 3, 4]


def test_when_another_process_is_faster_its_keyring_is_the_one(tmp_path, monkeypatch):
    store = FileStore(tmp_path)
    get, theirs = store.get, []

    def late(name):
        if not theirs:
            theirs.append(keystore.load_or_create(FileStore(tmp_path), 0.0))
            return None
        return get(name)

    monkeypatch.setattr(store, "get", late)
    # The first look says that there is none; by the time of the write there is.
    monkeypatch.setattr(store, "put_if", FileStore(tmp_path).put_if)
    assert keystore.load_or_create(store, 0.0) == theirs[0]


def test_a_rotation_is_kept(tmp_path):
    store = FileStore(tmp_path)
    before = keystore.load_or_create(store, 0.0)
    after = keystore.rotate(store, before, 1.0)
    assert after.current == before.next
    assert keystore.load_or_create(store, 0.0) == after


def test_a_rotation_from_a_stale_keyring_changes_nothing(tmp_path):
    store = FileStore(tmp_path)
    before = keystore.load_or_create(store, 0.0)
    after = keystore.rotate(store, before, 1.0)
    with pytest.raises(ConflictError, match="reload and try again"):
        keystore.rotate(store, before, 1.0)
    assert keystore.load_or_create(store, 0.0) == after


def test_a_damaged_keyring_is_refused_and_never_overwritten(tmp_path):
    store = FileStore(tmp_path)
    keystore.load_or_create(store, 0.0)
    path = tmp_path / keystore.ENTRY
    torn = path.read_bytes()[:100]
    path.write_bytes(torn)
    with pytest.raises(StateError, match="restore it from a backup"):
        keystore.load_or_create(store, 0.0)
    assert path.read_bytes() == torn
