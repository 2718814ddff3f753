"""`ntspool backend enroll` and `revoke`."""

import time

import pytest

from ntspool.app import enrol
from ntspool.errors import ConfigError, LocalError, RemoteError
from ntspool.net import enrolment
from ntspool.net.store import FileStore
from ntspool.wire.secret import Secret
from tests.app.pool import lay_out, run_ntspool


@pytest.fixture
def around(tmp_path, pki):
    return lay_out(tmp_path, pki)


def test_a_token_is_one_word_that_is_good_once(around):
    result = run_ntspool("backend", "enroll", "ntp-1", "--config", around.config)
    assert (result.returncode, result.stderr) == (0, "")
    [token] = result.stdout.split()
    store = FileStore(around.directory / "state")
    assert enrolment.redeem(store, Secret(token.encode()), 1, time.time()) == "ntp-1"
    assert enrolment.is_allowed(store, "ntp-1", 1)


def test_the_state_holds_no_token(around):
    token = enrol.new_token(around.config, "ntp-1")
    kept = [path.read_bytes() for path in (around.directory / "state").iterdir()]
    assert kept
    assert not any(token.reveal() in each for each in kept)


def test_an_unknown_backend_gets_none_and_those_there_are_are_named(around):
    with pytest.raises(LocalError, match=r"there is no backend 'ntp-9' in .*; there are ntp-1, ntp-2"):
        enrol.new_token(around.config, "ntp-9")


def test_revoking_tells_how_many_certificates_there_were_and_kills_tokens(around):
    store = FileStore(around.directory / "state")
    used, unused = (enrol.new_token(around.config, "ntp-1") for _ in range(2))
    enrolment.redeem(store, used, 7, time.time())
    result = run_ntspool("backend", "revoke", "ntp-1", "--config", around.config)
    assert result.returncode == 0
    assert result.stdout.startswith("certificates and tokens of ntp-1 revoked: 2;")
    assert not enrolment.is_allowed(store, "ntp-1", 7)
    with pytest.raises(RemoteError, match="the token is unknown"):
        enrolment.redeem(store, unused, 8, time.time())


def test_revoking_nobody_says_so(around):
    with pytest.raises(LocalError, match="'ntp-9' has no agent and no token"):
        enrol.shut_out(around.config, "ntp-9")


def test_a_bad_configuration_gives_no_token(around):
    around.config.write_text("pool: {}\n")
    with pytest.raises(ConfigError):
        enrol.new_token(around.config, "ntp-1")
