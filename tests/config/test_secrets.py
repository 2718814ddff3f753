"""No mistake in a configuration shows a secret that stands where the path of its file should."""

import pytest

from ntspool import config
from ntspool.errors import ConfigError
from tests import secrecy

HEX = "5f0f8d2a7c1b9e3a5f0f8d2a7c1b9e3a"
BASE64 = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0"
PEM = "-----BEGIN PRIVATE KEY-----\\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49\\n-----END PRIVATE KEY-----"
ITSELF = "no such file; expected the path of one that holds the secret, which must not stand here"


def mistakes(tmp_path, **changes):
    parts = {
        "tls": "[{certificate: chain.pem, key: key.pem}]",
        "backends": "[{name: ntp-1, address: 192.0.2.1}]",
        **changes,
    }
    path = tmp_path / "backends.yaml"
    path.write_text("pool: {names: [localhost]}\n" + "".join(f"{key}: {value}\n" for key, value in parts.items()))
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    return str(caught.value)


@pytest.mark.parametrize("text", [HEX, BASE64, f'"{PEM}"'], ids=["hex", "base64", "PEM"])
@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        ("tls", "[{{certificate: chain.pem, key: {}}}]", "tls[0].key"),
        ("keys", "{{encryption_key: {}}}", "keys.encryption_key"),
        ("store", "{{etcd: ['https://127.0.0.1:1'], user: ntspool, password: {}}}", "store.password"),
        ("store", "{{etcd: ['https://127.0.0.1:1'], certificate: chain.pem, key: {}}}", "store.key"),
        ("dns", "{{publish: {{server: 127.0.0.1, key: {}}}}}", "dns.publish.key"),
        (
            "backends",
            "[{{name: ntp-1, address: 192.0.2.1, cookies: fixed-key, ke: {{token: {}}}}}]",
            "backends[0].ke.token",
        ),
    ],
)
def test_a_secret_in_place_of_its_file_is_refused_and_not_shown(tmp_path, key, value, place, text):
    told = mistakes(tmp_path, **{key: value.format(text)})
    assert f"{place}: {ITSELF}" in told
    assert secrecy.found({"secret": (PEM.split("\\n")[1] if PEM in text else text).encode()}, told.encode()) == set()


def test_a_password_in_a_url_is_not_shown(tmp_path):
    told = mistakes(tmp_path, store="{etcd: ['https://ntspool:hunter2hunter2@etcd.example.com:2379']}")
    assert "store.etcd[0]: a URL with a user in it" in told
    assert "hunter2" not in told


def test_a_file_may_be_named_like_a_secret(tmp_path, pki):
    (tmp_path / HEX).symlink_to(pki.key)
    told = mistakes(tmp_path, tls=f"[{{certificate: nowhere.pem, key: {HEX}}}]")
    assert "tls[0].key" not in told


@pytest.mark.parametrize(
    "broken", [f"keys: {{encryption_key: {HEX}: x]", f'"{HEX}', f"? [{HEX}\n: {HEX}", f"&{HEX} *{HEX[:20]}"]
)
def test_what_is_no_yaml_is_not_quoted(tmp_path, broken):
    path = tmp_path / "backends.yaml"
    path.write_text(f"pool: {{names: [localhost]}}\n{broken}\n")
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert secrecy.found({"secret": HEX.encode()}, str(caught.value).encode()) == set()
