"""ntspool/pool/model.py: values that cannot change and do not tell secrets."""

from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from ipaddress import ip_address

import pytest

from ntspool.pool import model
from ntspool.pool.cookies import CookieFormat, ServerKey
from ntspool.pool.model import Backend, Certificate, Family, FixedKey, LogSettings, Serving, SessionRules, Snapshot
from ntspool.wire.aead import Aead
from ntspool.wire.secret import Secret
from tests.conftest import V4, all_up

ADDRESSES = (ip_address("192.0.2.1"), ip_address("2001:db8::1"))
BACKEND = Backend("ntp1", ADDRESSES, 123, 10, CookieFormat.CHRONY, (Aead.AES_SIV_CMAC_256,), "europe")
SERVING = Serving(BACKEND, all_up(BACKEND, ADDRESSES[:1]), ServerKey(7, Secret(b"cookie secret" + bytes(19))))
CERTIFICATE = Certificate(b"the chain", Secret(b"private key"))
PEER = FixedKey("ntp1.example", Secret(b"secret token"), ca=b"private authority")
KEEPER = Serving(replace(BACKEND, cookies=PEER), (), None)
SNAPSHOT = Snapshot(1, (CERTIFICATE,), SessionRules(5.0, 100), LogSettings(), (SERVING, KEEPER))
VALUES = (
    BACKEND,
    PEER,
    SERVING,
    SERVING.up[0],
    V4,
    CERTIFICATE,
    SNAPSHOT,
    SNAPSHOT.rules,
    SNAPSHOT.log,
    SNAPSHOT.selection,
)


def test_a_family_is_its_ip_version():
    assert [Family(address.version) for address in ADDRESSES] == [Family.IPV4, Family.IPV6]


def test_secrets_are_not_shown():
    shown = repr(SNAPSHOT)
    assert "the chain" in shown
    assert "ntp1" in shown
    assert "private" not in shown
    assert "cookie secret" not in shown
    assert "secret token" not in shown


@pytest.mark.parametrize("value", VALUES)
def test_values_cannot_change(value):
    for each in fields(value):
        with pytest.raises(FrozenInstanceError):
            setattr(value, each.name, None)
    assert not hasattr(value, "__dict__")
    assert hash(value) == hash(replace(value))
    assert value == replace(value)


def test_every_value_is_covered_here():
    made_here = {each for each in vars(model).values() if is_dataclass(each) and each.__module__ == model.__name__}
    assert made_here == {type(value) for value in VALUES}


def test_clients_addresses_are_logged_on_request_only():
    assert LogSettings() == LogSettings("info", "auto", client_addresses=False)
