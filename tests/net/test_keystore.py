"""The keyring in the store: made once, changed by one at a time, never torn, never lost by mistake."""

import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest

from ntspool.errors import ConflictError, LocalError, StateError
from ntspool.net.keystore import ENTRY, MADE, KeyStore
from ntspool.net.sealed import MARK, Seal
from ntspool.net.store import FileStore
from ntspool.pool import keyringfile
from ntspool.pool.keyring import create
from ntspool.wire.secret import Secret

FRESH = random.Random(9).randbytes
OPEN, SEAL = Seal(None), Seal(Secret(b"k" * 32))
GONE = (
    "the keyring is lost: .* Bring it back by `ntspool keys restore FILE`; if there is no backup, remove keyring-made"
)


@pytest.fixture(params=["open", "sealed"])
def seal(request):
    return {"open": OPEN, "sealed": SEAL}[request.param]


@pytest.fixture
def keys(tmp_path, seal):
    return KeyStore(FileStore(tmp_path), seal)


def rotate(keyring):
    return keyring.rotate(1.0, FRESH)


def test_a_missing_keyring_is_made_once(keys, tmp_path, seal):
    fresh = keys.load_or_create(7.0)
    assert [(epoch.number, epoch.created) for epoch in fresh.epochs] == [(n, 7.0) for n in range(1, 7)]
    assert keys.load_or_create(8.0) == keys.load() == fresh
    assert (tmp_path / ENTRY).read_bytes().startswith(MARK) == (seal is SEAL)
    assert KeyStore(FileStore(tmp_path / "other"), seal).load_or_create(7.0) != fresh


def test_when_another_process_is_faster_its_keyring_is_the_one(tmp_path, monkeypatch):
    store = FileStore(tmp_path)
    get, asked, theirs = store.get, [], []

    def late(name):
        asked.append(name)
        if asked == [MADE, ENTRY]:
            theirs.append(KeyStore(FileStore(tmp_path), OPEN).load_or_create(0.0))
            return None
        return get(name)

    monkeypatch.setattr(store, "get", late)
    # The first look says that there is none; by the time of the write there is.
    monkeypatch.setattr(store, "put_if", FileStore(tmp_path).put_if)
    assert KeyStore(store, OPEN).load_or_create(0.0) == theirs[0]


def test_of_a_keyring_from_a_gateway_that_left_no_mark_the_mark_is_made(keys, tmp_path):
    keyring = keys.load_or_create(0.0)
    (tmp_path / MADE).unlink()
    assert keys.load_or_create(1.0) == keyring
    assert (tmp_path / MADE).read_bytes() == b"1\n"


def test_a_lost_keyring_is_a_disaster_and_not_a_reason_to_make_another(keys, tmp_path):
    with pytest.raises(StateError, match=GONE):
        keys.load()
    before = keys.load_or_create(0.0)
    (tmp_path / ENTRY).unlink()
    for attempt in (keys.load, lambda: keys.change(before, rotate), lambda: keys.load_or_create(1.0)):
        with pytest.raises(StateError, match=GONE):
            attempt()
    assert [path.name for path in tmp_path.iterdir()] == [MADE]
    (tmp_path / MADE).unlink()
    assert keys.load_or_create(2.0) != before


# Changes.


def test_a_change_is_kept(keys):
    before = keys.load_or_create(0.0)
    after = keys.change(before, rotate)
    assert after.current == before.next
    assert keys.load() == after


def test_a_change_of_a_stale_keyring_changes_nothing(keys):
    before = keys.load_or_create(0.0)
    after = keys.change(before, rotate)
    with pytest.raises(ConflictError, match="changed by somebody else; reload and try again"):
        keys.change(before, rotate)
    assert keys.load() == after


def test_of_two_changes_at_the_same_time_one_wins(keys):
    before = keys.load_or_create(0.0)
    winners = []

    def slow(keyring):
        winners.append(keys.change(before, rotate))
        return rotate(keyring)

    with pytest.raises(ConflictError):
        keys.change(before, slow)
    assert keys.load() == winners[0]


def test_a_step_that_fails_changes_nothing(keys):
    before = keys.load_or_create(0.0)
    with pytest.raises(KeyError):
        keys.change(before, lambda keyring: keyring.revoke(99, 1.0, FRESH))
    assert keys.load() == before


def test_a_damaged_keyring_is_refused_and_never_overwritten(keys, tmp_path):
    before = keys.load_or_create(0.0)
    path = tmp_path / ENTRY
    torn = path.read_bytes()[:100]
    path.write_bytes(torn)
    attempts = (lambda: keys.load_or_create(0.0), keys.load, lambda: keys.change(before, rotate), keys.backup)
    for attempt in attempts:
        with pytest.raises(StateError, match="damaged"):
            attempt()
    assert path.read_bytes() == torn


def test_a_keyring_that_others_may_read_is_refused(keys, tmp_path):
    keys.load_or_create(0.0)
    (tmp_path / ENTRY).chmod(0o640)
    for attempt in (keys.load, keys.backup, keys.seal_if_open):
        with pytest.raises(StateError, match="open to others"):
            attempt()


@pytest.mark.parametrize(
    ("other", "words"),
    [(OPEN, "is encrypted: name its key"), (Seal(Secret(b"x" * 32)), "was encrypted under another key, or is damaged")],
)
def test_without_the_right_encryption_key_nothing_is_read_or_overwritten(tmp_path, other, words):
    store = FileStore(tmp_path)
    before = KeyStore(store, SEAL).load_or_create(0.0)
    kept = (tmp_path / ENTRY).read_bytes()
    wrong = KeyStore(store, other)
    attempts = (
        lambda: wrong.load_or_create(0.0),
        wrong.load,
        lambda: wrong.change(before, rotate),
        wrong.backup,
        lambda: wrong.restore(kept, replace=True),
    )
    for attempt in attempts:
        with pytest.raises(StateError, match=words):
            attempt()
    assert not wrong.seal_if_open()
    assert (tmp_path / ENTRY).read_bytes() == kept


def test_a_keyring_from_before_there_was_an_encryption_key_is_sealed(tmp_path):
    store = FileStore(tmp_path)
    assert not KeyStore(store, SEAL).seal_if_open(), "there is none yet"
    keyring = KeyStore(store, OPEN).load_or_create(0.0)
    assert not KeyStore(store, OPEN).seal_if_open(), "there is no key"
    assert not (tmp_path / ENTRY).read_bytes().startswith(MARK)
    assert KeyStore(store, SEAL).seal_if_open()
    assert (tmp_path / ENTRY).read_bytes().startswith(MARK)
    assert not KeyStore(store, SEAL).seal_if_open(), "it is done"
    assert KeyStore(store, SEAL).load() == keyring


# Backup and restore.


def test_a_backup_is_what_is_kept_and_restores_it(keys, tmp_path, seal):
    keyring = keys.load_or_create(0.0)
    backup = keys.backup()
    assert backup == (tmp_path / ENTRY).read_bytes()
    elsewhere = KeyStore(FileStore(tmp_path / "elsewhere"), seal)
    assert elsewhere.restore(backup, replace=False) == keyring
    assert elsewhere.load() == keyring
    assert (tmp_path / "elsewhere" / ENTRY).stat().st_mode & 0o777 == 0o600


def test_an_open_backup_is_sealed_when_it_is_restored(tmp_path):
    keyring = create(0.0, FRESH)
    keys = KeyStore(FileStore(tmp_path), SEAL)
    assert keys.restore(keyringfile.encode(keyring), replace=False) == keyring
    assert (tmp_path / ENTRY).read_bytes().startswith(MARK)


def test_of_nothing_there_is_no_backup(keys):
    with pytest.raises(LocalError, match="there is no keyring yet"):
        keys.backup()


def test_a_keyring_that_stands_is_replaced_on_demand_only(keys):
    first = keys.load_or_create(0.0)
    backup = keys.backup()
    second = keys.change(first, rotate)
    with pytest.raises(ConflictError, match="there is a keyring already; --replace it only if"):
        keys.restore(backup, replace=False)
    assert keys.load() == second
    assert keys.restore(backup, replace=True) == first
    assert keys.load() == first


def test_a_damaged_keyring_is_replaced_by_a_backup(keys, tmp_path):
    keyring = keys.load_or_create(0.0)
    backup = keys.backup()
    (tmp_path / ENTRY).write_bytes(b"rubbish")
    with pytest.raises(ConflictError):
        keys.restore(backup, replace=False)
    assert keys.restore(backup, replace=True) == keys.load() == keyring


@pytest.mark.parametrize("data", [b"", b"rubbish", MARK + b"rubbish"])
def test_a_damaged_backup_replaces_nothing(keys, data):
    keyring = keys.load_or_create(0.0)
    with pytest.raises(StateError):
        keys.restore(data, replace=True)
    assert keys.load() == keyring


def test_what_is_open_to_others_must_be_looked_at_before_it_is_replaced(keys, tmp_path):
    keys.load_or_create(0.0)
    backup = keys.backup()
    (tmp_path / ENTRY).chmod(0o644)
    with pytest.raises(StateError, match="chmod 600 it"):
        keys.restore(backup, replace=True)


# Crashes.


ROTATE_FOR_EVER = """
import os, sys
from pathlib import Path
from ntspool.net.keystore import KeyStore
from ntspool.net.sealed import Seal
from ntspool.wire.secret import Secret
from ntspool.net.store import FileStore

keys = KeyStore(FileStore(Path(sys.argv[1])), Seal(Secret(b"k" * 32)))
keyring = keys.load_or_create(0.0)
print("started", flush=True)
while True:
    keyring = keys.change(keyring, lambda before: before.rotate(1.0, os.urandom))
"""


def test_who_is_killed_in_between_leaves_a_whole_keyring(tmp_path):
    keys = KeyStore(FileStore(tmp_path), SEAL)
    numbers = [keys.load_or_create(0.0).current.number]
    rng = random.Random(1)
    for _ in range(10):
        process = subprocess.Popen([sys.executable, "-c", ROTATE_FOR_EVER, tmp_path], stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"started\n"
        # Anywhere in the write: the moment is what chance makes of it.
        time.sleep(rng.uniform(0, 0.02))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        numbers.append(keys.load().current.number)
    assert numbers == sorted(numbers)
    assert numbers[-1] > numbers[0], "it did rotate"
    left = {re.sub(r"\d+", "N", path.name) for path in tmp_path.iterdir()}
    assert left <= {ENTRY, MADE, f".{ENTRY}.N.tmp"}
    assert keys.change(keys.load(), rotate).current.number == numbers[-1] + 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [ENTRY, MADE], "no secret lies about"


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_disk_that_refuses_leaves_the_old_keyring(keys, tmp_path, monkeypatch, broken):
    before = keys.load_or_create(0.0)

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace" if broken == "replace" else f"os.{broken}", refuse)
    with pytest.raises(StateError, match="No space left on device"):
        keys.change(before, rotate)
    monkeypatch.undo()
    assert keys.load() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [ENTRY, MADE]
