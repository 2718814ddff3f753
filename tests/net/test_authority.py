"""The internal authority: what it signs, what it refuses to sign, and how it is kept."""

import base64
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from ntspool.errors import ConflictError, StateError, WireError
from ntspool.net import authority
from ntspool.net.sealed import Seal
from ntspool.net.store import FileStore
from ntspool.wire.secret import Secret
from tests import secrecy
from tests.certificates import of_no_version

NOW = 1_800_000_000.0
DAY = 86400


@pytest.fixture
def ours(tmp_path):
    return authority.load_or_create(FileStore(tmp_path), NOW)


def usages(certificate):
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_it_is_made_once_and_kept_as_a_secret(tmp_path):
    first = authority.load_or_create(FileStore(tmp_path), NOW)
    again = authority.load_or_create(FileStore(tmp_path), NOW + 5)
    assert first.fingerprint == again.fingerprint
    assert first.pem == again.pem
    assert (tmp_path / authority.ENTRY).stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in repr(first)
    assert secrecy.found({"authority": secrecy.private_key(first.encode())}, repr(first).encode()) == set()


def test_it_is_encrypted_when_there_is_a_key(tmp_path):
    seal = Seal(Secret(bytes(32)))
    first = authority.load_or_create(FileStore(tmp_path), NOW, seal)
    assert b"PRIVATE KEY" not in (tmp_path / authority.ENTRY).read_bytes()
    assert authority.load_or_create(FileStore(tmp_path), NOW, seal).pem == first.pem
    with pytest.raises(StateError):
        authority.load_or_create(FileStore(tmp_path), NOW)


def test_of_two_that_make_it_at_the_same_time_one_wins(tmp_path):
    class Late(FileStore):
        def put_if(self, name, data, revision):
            monitor.append(authority.load_or_create(FileStore(tmp_path), NOW))
            raise ConflictError("somebody else wrote it first")

    monitor = []
    assert authority.load_or_create(Late(tmp_path), NOW).pem == monitor[0].pem


@pytest.mark.parametrize("cut", [0, 10, 200, 300, 700])
def test_a_damaged_one_is_refused_and_stays(tmp_path, cut):
    authority.load_or_create(FileStore(tmp_path), NOW)
    path = tmp_path / authority.ENTRY
    torn = path.read_bytes()[:cut]
    path.write_bytes(torn)
    with pytest.raises(StateError, match="authority is damaged"):
        authority.load_or_create(FileStore(tmp_path), NOW)
    assert path.read_bytes() == torn


def armoured(data):
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(data) + b"-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("odd", [of_no_version, lambda _: b"0\x03abc"])
def test_a_certificate_that_cannot_be_read_is_the_peers_fault(ours, odd):
    private, csr = authority.make_request()
    pem = armoured(odd(ours.pem))
    with pytest.raises(WireError, match="no certificate of an authority"):
        authority.check_pinned(pem, ours.fingerprint)
    with pytest.raises(WireError, match="no certificate of the pool's authority"):
        authority.check_issued(armoured(odd(ours.sign_agent(csr, "ntp-1", 7, NOW))), private, ours.pem)


def test_a_kept_authority_with_a_certificate_that_cannot_be_read_is_refused(tmp_path, ours):
    path = tmp_path / authority.ENTRY
    path.write_bytes(path.read_bytes().replace(ours.pem, armoured(of_no_version(ours.pem))))
    with pytest.raises(StateError, match="authority is damaged"):
        authority.load_or_create(FileStore(tmp_path), NOW)


def test_a_key_of_another_certificate_is_refused(tmp_path):
    one, other = (authority.load_or_create(FileStore(tmp_path / name), NOW) for name in "ab")
    key = one.encode().partition(b"-----BEGIN CERTIFICATE")[0]
    FileStore(tmp_path / "c").put_if(authority.ENTRY, key + other.pem, None)
    with pytest.raises(StateError, match="differ"):
        authority.load_or_create(FileStore(tmp_path / "c"), NOW)


def test_an_agents_certificate(ours):
    private, csr = authority.make_request()
    issued = x509.load_pem_x509_certificate(ours.sign_agent(csr, "ntp-1", 77, NOW))
    issued.verify_directly_issued_by(ours.certificate)
    assert issued.public_key() == load_pem_private_key(private.reveal(), None).public_key()
    assert issued.serial_number == 77
    assert issued.subject.rfc4514_string() == "CN=ntp-1"
    assert authority.agent_of(issued) == "ntp-1"
    assert usages(issued) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert issued.not_valid_after_utc == datetime.fromtimestamp(NOW + 30 * DAY, UTC)
    assert issued.not_valid_before_utc < datetime.fromtimestamp(NOW - 3600, UTC)
    assert not issued.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_the_longest_name_of_a_backend_is_kept_whole(ours):
    name = "n" * 99
    issued = x509.load_pem_x509_certificate(ours.sign_agent(authority.make_request()[1], name, 1, NOW))
    assert authority.agent_of(issued) == name


def test_what_the_request_says_of_its_maker_counts_for_nothing(ours):
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("urn:ntspool:agent:ntp-2")])
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ntp-2")])
    builder = x509.CertificateSigningRequestBuilder(subject).add_extension(names, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    csr = builder.sign(ec.generate_private_key(ec.SECP256R1()), SHA256()).public_bytes(Encoding.PEM)
    issued = x509.load_pem_x509_certificate(ours.sign_agent(csr, "ntp-1", 1, NOW))
    assert authority.agent_of(issued) == "ntp-1"
    assert issued.subject.rfc4514_string() == "CN=ntp-1"
    assert not issued.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_control_ports_certificate(ours):
    pem = ours.issue_control(NOW).reveal()
    issued = x509.load_pem_x509_certificate(pem)
    issued.verify_directly_issued_by(ours.certificate)
    assert load_pem_private_key(pem, None).public_key() == issued.public_key()
    names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["ntspool-control"]
    assert usages(issued) == [ExtendedKeyUsageOID.SERVER_AUTH]
    with pytest.raises(WireError, match="names no agent"):
        authority.agent_of(issued)
    with pytest.raises(WireError, match="names no agent"):
        authority.agent_of(ours.certificate)


def request_for(key, digest=None):
    builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
    return builder.sign(key, digest).public_bytes(Encoding.PEM)


def flipped(csr):
    der = bytearray(x509.load_pem_x509_csr(csr).public_bytes(Encoding.DER))
    der[-1] ^= 1
    return x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    ("csr", "words"),
    [
        (b"", "malformed"),
        (b"\xff" * 100, "malformed"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "malformed"),
        (b"x" * 5000, "too long"),
        (request_for(rsa.generate_private_key(65537, 2048), SHA256()), "not P-256"),
        (request_for(ec.generate_private_key(ec.SECP384R1()), SHA256()), "not P-256"),
        (request_for(ed25519.Ed25519PrivateKey.generate()), "not P-256"),
        (flipped(authority.make_request()[1]), "not signed by its own key"),
    ],
)
def test_a_request_that_is_not_what_it_must_be_is_refused(ours, csr, words):
    with pytest.raises(WireError, match=words):
        ours.sign_agent(csr, "ntp-1", 1, NOW)
