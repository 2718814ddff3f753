"""Who can get at what ntspool writes, whatever the umask is; and which files it does not read."""

import asyncio
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ntspool.app import export
from ntspool.app.throwaway import Authority
from ntspool.app.timeserving import read_tokens, renew
from ntspool.errors import LocalError, StateError
from ntspool.net import agentstate, authority, historyschema
from ntspool.net.agentstate import Identity
from ntspool.net.daemons.chrony import Chrony
from ntspool.net.daemons.embedded import Embedded
from ntspool.net.daemons.restarted import NtpdRs, Ntpsec
from ntspool.net.keystore import KeyStore
from ntspool.net.peertoken import read_token
from ntspool.net.sealed import Seal, read_seal
from ntspool.net.secretfile import read_secret
from ntspool.net.store import FileStore
from ntspool.net.timeserver import load_cookie_jar
from ntspool.net.tls import read_certificate
from ntspool.net.tsig import read_key
from ntspool.pool.keyring import create
from ntspool.wire.secret import Secret

RING = create(0.0, os.urandom)
STATE = Path("state")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def _install(daemon):
    asyncio.run(daemon.install(RING.keys("ntp-1", daemon.cookies), 0.0))


WRITTEN = [
    ("state", 0o700, lambda: KeyStore(FileStore(STATE), Seal(None)).load_or_create(0.0)),
    ("state/keyring", 0o600, lambda: KeyStore(FileStore(STATE), Seal(None)).load_or_create(0.0)),
    ("state/keyring", 0o600, lambda: KeyStore(FileStore(STATE), Seal(Secret(bytes(32)))).load_or_create(0.0)),
    ("state/authority", 0o600, lambda: authority.load_or_create(FileStore(STATE), 0.0)),
    ("state/history.db", 0o600, lambda: historyschema._make(STATE / "history.db")),
    ("agent", 0o700, lambda: agentstate.write(Path("agent"), Identity("n", (), b"", Secret(b""), b""))),
    ("agent/identity", 0o600, lambda: agentstate.write(Path("agent"), Identity("n", (), b"", Secret(b""), b""))),
    ("exported", 0o600, lambda: export.write(Path("exported"), b"keys")),
    ("privkey.pem", 0o600, lambda: Authority.make(datetime.now(UTC)).issue(["n"], [], Path(), datetime.now(UTC))),
    ("keys", 0o600, lambda: _install(Chrony(Path("keys"), Path("socket")))),
    ("keys", 0o600, lambda: _install(Ntpsec(Path("keys")))),
    ("keys", 0o640, lambda: _install(NtpdRs(Path("keys")))),
    ("keys", 0o600, lambda: _install(Embedded(Path("keys")))),
    ("own.keys", 0o600, lambda: renew(Path("own.keys"), 0.0)),
]


@pytest.mark.parametrize("umask", [0, 0o077], ids=["umask 0", "umask 077"])
@pytest.mark.parametrize(
    ("name", "mode", "write"), WRITTEN, ids=[f"{name}-{at}" for at, (name, _, _) in enumerate(WRITTEN)]
)
def test_what_is_written_is_for_whom_it_is_to_be(tmp_path, monkeypatch, name, mode, write, umask):
    monkeypatch.chdir(tmp_path)
    before = os.umask(umask)
    try:
        write()
        write()
    finally:
        os.umask(before)
    assert stat.S_IMODE(Path(name).stat().st_mode) == mode
    assert not list(tmp_path.rglob("*.tmp"))


@root_only
def test_what_root_writes_into_a_daemons_folder_is_that_daemons(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.chown(tmp_path, 1234, 4321)
    for daemon, owner in ((Chrony(Path("a"), Path("s")), 1234), (Ntpsec(Path("b")), 1234), (NtpdRs(Path("c")), 0)):
        _install(daemon)
        assert (daemon.key_file.stat().st_uid, daemon.key_file.stat().st_gid) == (owner, 4321)


def _seal(path):
    return read_seal(path).encrypts


READ = {
    "any": (read_secret, b"secret"),
    "token": (read_token, b"t" * 32),
    "tokens": (read_tokens, b"t" * 32),
    "encryption key": (_seal, b"k" * 32),
    "TSIG key": (read_key, b'key "k" { algorithm hmac-sha256; secret "c2VjcmV0IHNlY3JldA=="; };'),
    "key file": (load_cookie_jar, None),
    "private key": (None, None),
}


@pytest.fixture(params=READ)
def secret_file(request, tmp_path, pki):
    """Return a file that holds a secret, and what reads that kind of file."""
    read, data = READ[request.param]
    folder, path = tmp_path / "folder", tmp_path / "folder/file"
    folder.mkdir(mode=0o755)
    if request.param == "key file":
        _install(Embedded(path))
    else:
        path.write_bytes(pki.key.read_bytes() if data is None else data)
    path.chmod(0o600)
    return path, read or (lambda path: read_certificate(pki.chain, path))


def refused(secret_file, path=None):
    """Return why a file is not read."""
    with pytest.raises(LocalError) as caught:
        secret_file[1](path or secret_file[0])
    return str(caught.value)


def test_files_for_owner_and_group_are_read(secret_file):
    path, read = secret_file
    for mode in (0o400, 0o600, 0o640, 0o440):
        path.chmod(mode)
        assert read(path)


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o666, 0o644])
def test_files_for_others_are_not(secret_file, mode):
    secret_file[0].chmod(mode)
    assert "is open to every user; chmod o= it" in refused(secret_file)


def test_through_a_link_the_file_is_what_counts(secret_file, tmp_path):
    path, read = secret_file
    (tmp_path / "link").symlink_to(path)
    assert read(tmp_path / "link")
    path.chmod(0o644)
    assert "is open to every user" in refused(secret_file, tmp_path / "link")
    (tmp_path / "dangling").symlink_to("nowhere")
    assert "cannot be read: No such file" in refused(secret_file, tmp_path / "dangling")


def test_where_every_user_can_put_a_file_none_is_trusted(secret_file, tmp_path):
    path, read = secret_file
    (tmp_path / "link").symlink_to(path)
    path.parent.chmod(0o777)
    for each in (path, tmp_path / "link"):
        assert f"{path.parent} can be written by every user" in refused(secret_file, each)
    path.parent.chmod(0o1777)
    assert read(path), "as in /tmp, nobody else can put another one in its place"


@root_only
def test_of_a_folder_for_all_only_ones_own_files_are_trusted(secret_file):
    path, _ = secret_file
    path.parent.chmod(0o1777)
    os.chown(path, 12345, 12345)
    assert "a file of user 12345 in" in refused(secret_file)


def test_pipes_folders_and_what_never_ends_are_not_read(secret_file, tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "is not a regular file" in refused(secret_file, tmp_path / "pipe")
    assert "cannot be read" in refused(secret_file, tmp_path) or "not a regular file" in refused(secret_file, tmp_path)
    secret_file[0].write_bytes(b"x" * 70_000)
    assert "is too long" in refused(secret_file)


def test_of_a_state_folder_that_every_user_can_write_nothing_is_read(tmp_path):
    store = FileStore(tmp_path / "state")
    store.put_if("keyring", b"one", None)
    (tmp_path / "state").chmod(0o777)
    with pytest.raises(StateError, match="can be written by every user"):
        store.get("keyring")
