"""Tokens are good once and for a while; who was revoked is out."""

import base64
import json
import os

import pytest

from ntspool.errors import ConflictError, LocalError, RemoteError, StateError
from ntspool.net import authority, enrolment
from ntspool.net.enrolment import Roster
from ntspool.net.store import FileStore
from ntspool.wire.secret import Secret

NOW = 1_800_000_000.0
LIFE = 3600.0


@pytest.fixture
def store(tmp_path):
    return FileStore(tmp_path)


def token(store, backend="ntp-1", now=NOW):
    return enrolment.create_token(store, backend, now, LIFE, os.urandom)


def test_a_token_is_one_word_that_pins_the_authority_and_is_not_kept(store, tmp_path):
    token = enrolment.create_token(store, "ntp-1", NOW, LIFE, lambda length: b"\xfb" * length)
    text = token.reveal().decode()
    assert text.startswith("ntspool1-")
    assert all(each.isalnum() or each in "-_" for each in text)
    assert enrolment.pinned_authority(token) == authority.load_or_create(store, NOW).fingerprint
    assert text not in (tmp_path / enrolment.ENTRY).read_text()
    assert base64.b64encode(b"\xfb" * 16).decode() not in (tmp_path / enrolment.ENTRY).read_text()


def test_a_token_is_good_once(store):
    text = token(store)
    assert enrolment.redeem(store, text, 5, NOW + 1) == "ntp-1"
    assert enrolment.is_allowed(store, "ntp-1", 5)
    assert not enrolment.is_allowed(store, "ntp-2", 5)
    with pytest.raises(RemoteError, match="ntp-1 was used before"):
        enrolment.redeem(store, text, 6, NOW + 2)
    assert not enrolment.is_allowed(store, "ntp-1", 6)


def test_a_token_expires(store):
    text, later = token(store), token(store, now=NOW + 1)
    with pytest.raises(RemoteError, match="ntp-1 has expired"):
        enrolment.redeem(store, text, 5, NOW + LIFE)
    assert enrolment.redeem(store, later, 5, NOW + LIFE) == "ntp-1"


@pytest.mark.parametrize("text", [b"", b"ntspool1-", b"x" * 1000, b"\xff", b"ntspool1-" + b"A" * 64])
def test_a_made_up_token_is_unknown(store, text):
    token(store)
    with pytest.raises(RemoteError, match="unknown"):
        enrolment.redeem(store, Secret(text), 5, NOW)


def test_an_agent_is_told_when_its_token_is_none(store):
    text = token(store).reveal().decode()
    for wrong in ("", text[:-1], text[1:], text + "A", text.upper(), text.replace("-", "ä"), "ntspool1-" + "!" * 64):
        with pytest.raises(LocalError, match="copy all of it"):
            enrolment.pinned_authority(Secret(wrong.encode()))


def test_revoking_puts_out_every_certificate_and_token_of_that_backend_only(store):
    unused = token(store)
    enrolment.redeem(store, token(store), 5, NOW)
    enrolment.redeem(store, token(store), 6, NOW)
    enrolment.redeem(store, token(store, "ntp-2"), 7, NOW)
    assert enrolment.revoke(store, "ntp-1", NOW) == 3
    assert not enrolment.is_allowed(store, "ntp-1", 5)
    assert not enrolment.is_allowed(store, "ntp-1", 6)
    assert enrolment.is_allowed(store, "ntp-2", 7)
    with pytest.raises(RemoteError, match="unknown"):
        enrolment.redeem(store, unused, 8, NOW)
    assert enrolment.revoke(store, "ntp-1", NOW) == 0
    assert enrolment.redeem(store, token(store), 9, NOW) == "ntp-1"


def test_renewals_are_allowed_and_bounded(store):
    enrolment.redeem(store, token(store), 1, NOW)
    for serial in range(2, 8):
        enrolment.add_certificate(store, "ntp-1", serial - 1, serial, NOW)
    allowed = [serial for serial in range(1, 8) if enrolment.is_allowed(store, "ntp-1", serial)]
    assert allowed == [4, 5, 6, 7]


def test_a_revoked_certificate_renews_nothing(store):
    enrolment.redeem(store, token(store), 1, NOW)
    enrolment.revoke(store, "ntp-1", NOW)
    with pytest.raises(RemoteError, match="revoked"):
        enrolment.add_certificate(store, "ntp-1", 1, 2, NOW)
    assert enrolment.read(store) == Roster()


def test_what_has_ended_is_forgotten(store):
    old = token(store)
    enrolment.redeem(store, token(store), 1, NOW)
    later = NOW + authority.AGENT_LIFE
    token(store, "ntp-2", later)
    roster = enrolment.read(store)
    assert roster.agents == {}
    assert [each.backend for each in roster.tokens.values()] == ["ntp-2"]
    with pytest.raises(RemoteError, match="unknown"):
        enrolment.redeem(store, old, 2, later)


def test_a_lost_race_is_run_again_with_what_the_other_wrote(store, tmp_path):
    text = token(store)

    class Late(FileStore):
        def put_if(self, name, data, revision):
            if not self.beaten:
                self.beaten = True
                enrolment.redeem(store, text, 5, NOW)
            super().put_if(name, data, revision)

    late = Late(tmp_path)
    late.beaten = False
    with pytest.raises(RemoteError, match="used before"):
        enrolment.redeem(late, text, 6, NOW)
    assert enrolment.is_allowed(store, "ntp-1", 5)


def test_a_store_that_never_gives_way_is_told(tmp_path):
    class Busy(FileStore):
        def put_if(self, name, data, revision):
            raise ConflictError("somebody else wrote it first")

    with pytest.raises(ConflictError, match="changes all the time"):
        enrolment.revoke(Busy(tmp_path), "ntp-1", NOW)


@pytest.mark.parametrize(
    "kept",
    [
        b"",
        b"[]",
        b"{",
        b'{"format": 1}',
        b'{"format": 1, "tokens": [], "agents": {}}',
        b'{"format": 1, "tokens": {"x": {"backend": 1, "expires": 1, "used": null}}, "agents": {}}',
        b'{"format": 1, "tokens": {"x": {"backend": "a", "expires": null, "used": null}}, "agents": {}}',
        b'{"format": 1, "tokens": {}, "agents": {"a": [{"serial": "zz", "expires": 1}]}}',
        b'{"format": 1, "tokens": {}, "agents": {"a": {"serial": "1", "expires": 1}}}',
    ],
)
def test_a_damaged_entry_is_refused_and_stays(store, tmp_path, kept):
    store.put_if(enrolment.ENTRY, kept, None)
    for act in (
        lambda: token(store),
        lambda: enrolment.revoke(store, "ntp-1", NOW),
        lambda: enrolment.is_allowed(store, "a", 1),
    ):
        with pytest.raises(StateError, match="list of agents is damaged"):
            act()
    assert (tmp_path / enrolment.ENTRY).read_bytes() == kept


def test_an_entry_of_a_later_version_is_refused(store):
    store.put_if(enrolment.ENTRY, json.dumps({"format": 2}).encode(), None)
    with pytest.raises(StateError, match="has format 2"):
        enrolment.read(store)
