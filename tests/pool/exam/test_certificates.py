"""What is read from certificates, and what is thought of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates
from cryptography.x509.oid import NameOID

from ntspool.pool.exam.certificates import DAY, Expectation, certificate_facts, judge_certificate
from tests.certificates import of_no_version, with_a_strange_name
from tests.pool.exam.seen import GOOD, ids

EXPECTED = Expectation("pool.test", covered=True, insecure=False)


@pytest.fixture(scope="module")
def seen(pki):
    chain = load_pem_x509_certificates(pki.chain.read_bytes() + pki.ca.read_bytes())
    return replace(GOOD, chain=tuple(each.public_bytes(Encoding.DER) for each in chain))


@pytest.fixture
def facts(seen):
    return certificate_facts(seen, datetime.now(UTC).timestamp())


def test_facts(facts):
    assert facts.names == ("localhost", "*.pool.test", "127.0.0.1", "::1")
    assert (facts.key, len(facts.chain), facts.trouble) == ("EC secp256r1", 2, ())
    assert facts.issuer == facts.chain[1]
    assert facts.days_left == pytest.approx((facts.not_after - datetime.now(UTC).timestamp()) / DAY, abs=0.01)


@pytest.mark.parametrize(
    ("key", "name"), [(rsa.generate_private_key(65537, 2048), "RSA 2048"), (Ed25519PrivateKey.generate(), "Ed25519")]
)
def test_other_keys_and_a_leaf_without_names(key, name):
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a\x1b[2Jb")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(who, who, key.public_key(), 1, now, now + timedelta(days=1))
    leaf = builder.sign(key, None if name == "Ed25519" else SHA256())
    facts = certificate_facts(replace(GOOD, chain=(leaf.public_bytes(Encoding.DER),)), now.timestamp())
    assert (facts.key, facts.names, facts.subject) == (name, (), r"CN=a\x1b[2Jb")
    assert ids(judge_certificate(facts, replace(EXPECTED, covered=False)))["tls.name"] == "fail"


def test_no_certificate_and_one_that_is_none():
    assert certificate_facts(GOOD, 0.0) is None
    assert certificate_facts(replace(GOOD, chain=(b"\x30\x03abc",)), 0.0) is None


@pytest.mark.parametrize("odd", [of_no_version, with_a_strange_name])
def test_one_that_only_openssl_can_read_is_none(pki, odd):
    assert certificate_facts(replace(GOOD, chain=(odd(pki.chain.read_bytes()),)), 0.0) is None


def test_a_good_certificate(facts):
    assert set(ids(judge_certificate(facts, EXPECTED)).values()) == {"pass"}


@pytest.mark.parametrize(
    ("changes", "expected", "name", "verdict"),
    [
        ({"trouble": ("CN=x has expired",)}, EXPECTED, "tls.chain", "fail"),
        ({"trouble": ("CN=x has expired",)}, replace(EXPECTED, insecure=True), "tls.chain", "note"),
        ({}, replace(EXPECTED, covered=False), "tls.name", "fail"),
        ({}, replace(EXPECTED, covered=False, insecure=True), "tls.name", "note"),
        ({"days_left": -1.0}, EXPECTED, "tls.expiry", "fail"),
        ({"days_left": 10.0, "not_before": 0.0, "not_after": 90 * DAY}, EXPECTED, "tls.expiry", "note"),
        ({"days_left": 2.0, "not_before": 0.0, "not_after": 6 * DAY}, EXPECTED, "tls.expiry", "pass"),
        ({"days_left": 20.0, "not_before": 0.0, "not_after": 3650 * DAY}, EXPECTED, "tls.expiry", "note"),
        ({"chain": ("CN=a", "CN=a")}, EXPECTED, "tls.chain-sent", "note"),
    ],
)
def test_what_is_wrong_is_found(facts, changes, expected, name, verdict):
    found = ids(judge_certificate(replace(facts, **changes), expected))
    assert found.pop(name) == verdict
    assert set(found.values()) == {"pass"}


def test_a_missing_issuer_is_hinted_at(facts):
    alone = replace(facts, chain=facts.chain[:1], trouble=("the issuer of CN=x is neither sent nor known",))
    (text,) = (each.text for each in judge_certificate(alone, EXPECTED) if each.id == "tls.chain")
    assert "sends no certificate of its issuer" in text


@pytest.mark.parametrize(("trouble", "expired"), [((), False), (("it has expired",), True)])
def test_an_expired_certificate_that_a_trusted_chain_does_without_is_no_trouble(pki, trouble, expired):
    key, now = Ed25519PrivateKey.generate(), datetime.now(UTC)
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an old root")])
    first, last = now - timedelta(days=9), now - timedelta(days=2)
    old = x509.CertificateBuilder(who, who, key.public_key(), 1, first, last).sign(key, None)
    chain = [*load_pem_x509_certificates(pki.chain.read_bytes()), old]
    sent = replace(GOOD, chain=tuple(each.public_bytes(Encoding.DER) for each in chain), trouble=trouble)
    facts = certificate_facts(sent, now.timestamp())
    assert (facts.days_left < 0) == expired
