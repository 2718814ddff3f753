"""From backends.yaml to the shared store: files that cannot be used are named, and a file alone stays alone."""

import ssl

import pytest

from ntspool import config
from ntspool.app.sharing import command_store, etcd_settings
from ntspool.config import Store
from ntspool.errors import StateError
from ntspool.net.store import FileStore
from ntspool.wire.secret import Secret
from tests import secrecy
from tests.app.pool import lay_out, run_ntspool

ENDPOINTS = ("https://127.0.0.1:2379",)


def store(**stated):
    return Store.model_construct(
        **{**{name: field.default for name, field in Store.model_fields.items()}, "etcd": ENDPOINTS, **stated}
    )


def secret(tmp_path, contents, mode=0o600):
    path = tmp_path / "password"
    path.write_bytes(contents)
    path.chmod(mode)
    return path


def test_what_is_stated_is_what_is_asked(tmp_path, pki):
    password = secret(tmp_path, b"good-word\n")
    made = etcd_settings(store(user="gateway", password=password, ca=pki.ca, prefix="/p/"))
    assert (made.endpoints, made.prefix, made.user, made.password) == (
        ENDPOINTS,
        "/p/",
        "gateway",
        Secret(b"good-word"),
    )
    assert made.tls.verify_mode == ssl.CERT_REQUIRED
    assert "good-word" not in repr(made)
    assert etcd_settings(store(etcd=("http://127.0.0.1:2379",))).tls is None


@pytest.mark.parametrize(
    ("contents", "mode", "reason"),
    [(b"", 0o600, "is empty"), (b"\xff\xfe", 0o600, "not UTF-8"), (b"word", 0o644, "open to every user")],
)
def test_a_password_that_cannot_be_used_is_told(tmp_path, contents, mode, reason):
    with pytest.raises(StateError, match=reason):
        etcd_settings(store(user="gateway", password=secret(tmp_path, contents, mode)))


def test_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(StateError, match=r"password cannot be read"):
        etcd_settings(store(user="gateway", password=tmp_path / "password"))
    with pytest.raises(StateError, match=r"TLS with the cluster's store cannot be set up from .*ca\.pem"):
        etcd_settings(store(ca=tmp_path / "ca.pem"))


def test_a_private_key_that_every_user_can_read_is_refused(tmp_path, pki):
    key = tmp_path / "key.pem"
    key.write_bytes(pki.key.read_bytes())
    key.chmod(0o644)
    with pytest.raises(StateError, match="open to every user"):
        etcd_settings(store(certificate=pki.chain, key=key))
    key.chmod(0o640)
    assert etcd_settings(store(certificate=pki.chain, key=key)).tls


def test_a_gateway_alone_keeps_to_its_state_folder(tmp_path, pki):
    around = lay_out(tmp_path, pki)
    with command_store(config.load(around.config)) as kept:
        assert isinstance(kept, FileStore)
        assert kept.get("keyring") == FileStore(around.state).get("keyring")


def test_a_store_that_does_not_answer_shows_no_password(tmp_path, pki):
    around = lay_out(tmp_path, pki)
    password = secret(tmp_path, b"a-very-good-word-for-etcd\n")
    shared = f"store: {{etcd: ['https://127.0.0.1:1'], user: gateway, password: {password}}}\n"
    around.config.write_text(shared + around.config.read_text())
    done = run_ntspool("backend", "enroll", "ntp-1", "--config", around.config)
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert secrecy.found({"password": b"a-very-good-word-for-etcd"}, (done.stdout + done.stderr).encode()) == set()
