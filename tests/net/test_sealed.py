"""Secrets at rest: sealed under a key that does not lie beside them."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import StateError
from ntspool.net.sealed import CREDENTIAL, MARK, Seal, read_seal
from ntspool.wire.secret import Secret

KEY = b"k" * 32
SEAL, OPEN = Seal(Secret(KEY)), Seal(None)


@given(st.text(max_size=10), st.binary(max_size=100))
def test_what_is_closed_opens_again_and_shows_nothing(name, data):
    closed = SEAL.close(name, b"secret" + data)
    assert closed.startswith(MARK)
    assert b"secret" not in closed
    assert SEAL.open(name, closed) == b"secret" + data


def test_no_two_entries_are_sealed_alike():
    assert SEAL.close("keyring", b"data") != SEAL.close("keyring", b"data")
    nonces = iter([b"n" * 12, b"m" * 12])
    assert SEAL.close("keyring", b"", lambda _: next(nonces))[len(MARK) :][:12] == b"n" * 12


def test_without_a_key_entries_stay_as_they_are():
    assert OPEN.close("keyring", b"data") == b"data"
    assert OPEN.open("keyring", b"data") == b"data"


def test_what_was_written_before_there_was_a_key_opens():
    assert SEAL.open("keyring", b"data") == b"data"


def test_without_the_key_the_operator_is_told_where_to_name_it():
    with pytest.raises(StateError, match=r"keyring is encrypted: name its key by `keys: \{encryption_key: FILE\}`"):
        OPEN.open("keyring", SEAL.close("keyring", b"data"))


SEALED = SEAL.close("keyring", b"data")


@pytest.mark.parametrize(
    ("seal", "name", "closed"),
    [
        pytest.param(Seal(Secret(b"x" * 32)), "keyring", SEALED, id="another key"),
        pytest.param(Seal(Secret(KEY + b"k")), "keyring", SEALED, id="a longer key"),
        pytest.param(SEAL, "authority", SEALED, id="another entry"),
        pytest.param(SEAL, "keyring", MARK, id="nothing but the mark"),
        pytest.param(SEAL, "keyring", SEALED[: len(MARK) + 12], id="nothing but the nonce"),
        pytest.param(SEAL, "keyring", SEALED[:-1], id="cut"),
        pytest.param(SEAL, "keyring", SEALED[:-1] + bytes([SEALED[-1] ^ 1]), id="a bit flipped"),
        pytest.param(SEAL, "keyring", SEALED + b"\n", id="longer"),
    ],
)
def test_what_does_not_open_is_told(seal, name, closed):
    with pytest.raises(StateError, match=f"{name} was encrypted under another key, or is damaged"):
        seal.open(name, closed)


def test_a_short_key_is_refused():
    with pytest.raises(ValueError, match="at least 32 bytes, not 31"):
        Seal(Secret(bytes(31)))


# Where the key comes from.


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(KEY + b"\n")
    path.chmod(0o600)
    return path


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


def test_the_key_is_read_from_a_file_without_its_newline(key_file):
    assert read_seal(key_file).open("keyring", SEALED) == b"data"


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o640])
def test_a_group_may_read_the_key(key_file, mode):
    key_file.chmod(mode)
    assert read_seal(key_file).open("keyring", SEALED) == b"data"


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601])
def test_a_key_that_is_open_to_everybody_is_refused(key_file, mode):
    key_file.chmod(mode)
    with pytest.raises(StateError, match="key is open to every user; chmod o= it"):
        read_seal(key_file)


def test_without_a_key_nothing_is_sealed():
    assert read_seal(None).close("keyring", b"data") == b"data"


def test_systemds_credential_is_the_key_unless_a_file_is_named(tmp_path, key_file, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_seal(None).close("keyring", b"data") == b"data", "systemd may pass other credentials only"
    (tmp_path / CREDENTIAL).write_bytes(b"c" * 32)
    (tmp_path / CREDENTIAL).chmod(0o400)
    assert read_seal(None).open("keyring", Seal(Secret(b"c" * 32)).close("keyring", b"data")) == b"data"
    assert read_seal(key_file).open("keyring", SEALED) == b"data"


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (os.unlink, "key cannot be read: No such file or directory"),
        (lambda path: (path.unlink(), path.mkdir(mode=0o700)), "key is not a regular file"),
        (lambda path: path.write_bytes(b"short\n"), "key: a key-encryption key has at least 32 bytes, not 5"),
    ],
)
def test_a_key_that_cannot_be_used_is_told(key_file, prepare, words):
    prepare(key_file)
    with pytest.raises(StateError, match=words) as refusal:
        read_seal(key_file)
    assert "short" not in str(refusal.value)
