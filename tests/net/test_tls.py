"""Certificates: what is refused and why, and which one SNI selects."""

import base64
import os
import re
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization import load_pem_private_key as load_key
from cryptography.x509 import load_pem_x509_certificate

from ntspool.errors import CertificateError
from ntspool.net.servertls import server_context
from ntspool.net.session import Session
from ntspool.net.tls import ByName, client_context, covers, dns_names, library, read_certificate
from ntspool.pool.negotiation import Negotiator
from tests.certificates import of_no_version, with_strange_names
from tests.conftest import V4
from tests.net.tlsclient import MemoryClient, make_context


def test_a_good_pair_is_read(pki):
    certificate = read_certificate(pki.chain, pki.key)
    assert dns_names(certificate) == ("localhost", "*.pool.test")
    assert "PRIVATE" not in repr(certificate)


def test_an_unreadable_file_is_named(pki, tmp_path):
    with pytest.raises(CertificateError, match=r"nowhere\.pem cannot be read: No such file or directory"):
        read_certificate(tmp_path / "nowhere.pem", pki.key)


def test_a_key_that_others_can_read_is_refused_with_what_to_do(pki, tmp_path):
    key = tmp_path / "key.pem"
    key.write_bytes(pki.key.read_bytes())
    key.chmod(0o644)
    with pytest.raises(CertificateError, match=r"key\.pem is open to every user; chmod o= it"):
        read_certificate(pki.chain, key)
    key.chmod(0o640)
    read_certificate(pki.chain, key)


def test_a_key_of_another_certificate_is_refused(pki, tmp_path):
    _, other = pki.authority.issue(["other.test"], [], tmp_path, datetime.now(UTC))
    with pytest.raises(CertificateError, match="is not the private key of the certificate in"):
        read_certificate(pki.chain, other)


def _pem(key, encryption=None):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


@pytest.mark.parametrize("kind", ["no pem", "encrypted", "dsa", "P-224"])
def test_a_key_that_cannot_be_used_is_refused(pki, tmp_path, kind):
    key = tmp_path / "key.pem"
    contents = {
        "no pem": lambda: b"hello",
        "encrypted": lambda: _pem(load_key(pki.key.read_bytes(), None), BestAvailableEncryption(b"secret")),
        "dsa": lambda: _pem(dsa.generate_private_key(2048)),
        "P-224": lambda: _pem(ec.generate_private_key(ec.SECP224R1())),
    }
    key.write_bytes(contents[kind]())
    key.chmod(0o600)
    with pytest.raises(CertificateError, match=r"holds no unencrypted private key in PEM that TLS 1\.3 can use"):
        read_certificate(pki.chain, key)


@pytest.mark.parametrize("content", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_file_without_certificate_is_refused(pki, tmp_path, content):
    chain = tmp_path / "chain.pem"
    chain.write_bytes(content)
    with pytest.raises(CertificateError, match=r"chain\.pem holds no certificate in PEM"):
        read_certificate(chain, pki.key)


@pytest.mark.parametrize("made", [of_no_version, with_strange_names])
def test_a_certificate_that_cannot_be_read_is_refused(pki, tmp_path, made):
    chain = tmp_path / "chain.pem"
    odd = made(pki.chain.read_bytes())
    chain.write_bytes(b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(odd) + b"-----END CERTIFICATE-----\n")
    with pytest.raises(CertificateError, match=r"chain\.pem holds no certificate in PEM"):
        read_certificate(chain, pki.key)
    if made is of_no_version:
        with pytest.raises(CertificateError, match="no certificates in PEM"):
            client_context(chain.read_bytes())


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("localhost", True),
        ("a.pool.test", True),
        ("a.b.pool.test", False),
        ("pool.test", False),
        ("", False),
        ("elsewhere.test", False),
    ],
)
def test_covers_knows_wildcards_of_one_label(host, good):
    assert covers(("localhost", "*.pool.test"), host) is good


@pytest.mark.parametrize("way", ["fast", "public"])
def test_sni_selects_among_certificates(pki, tmp_path, way):
    pair = pki.authority.issue(["second.test"], [], tmp_path, datetime.now(UTC))
    context = make_context(way, [pki.certificate, read_certificate(*pair)])
    for name, expected in [
        ("second.test", pair[0]),
        ("SECOND.test", pair[0]),
        ("localhost", pki.chain),
        (None, pki.chain),
    ]:
        session = Session(context, Negotiator([]), V4.packed, os.urandom)
        client = MemoryClient(session, pki.ca, name=name).handshake()
        served = client.tls.get_peer_certificate(as_cryptography=True)
        assert served == load_pem_x509_certificate(expected.read_bytes()), name
        assert len(client.flights) == 1, "no session tickets under any certificate"


def test_where_certificates_share_a_name_the_first_one_stands():
    values = ByName([(("a.test", "*.b.test"), 1), (("x.b.test", "a.test"), 2), ((), 3)])
    found = {host: values.get(host) for host in ("a.test", "x.b.test", "y.b.test", "b.test", "")}
    assert found == {"a.test": 1, "x.b.test": 1, "y.b.test": 1, "b.test": None, "": None}
    assert values.values() == [1, 2, 3]


@pytest.mark.parametrize("way", ["fast", "public"])
def test_aes_128_is_preferred_to_what_the_client_likes_more(pki, way):
    session = Session(make_context(way, [pki.certificate]), Negotiator([]), V4.packed, os.urandom)
    client = MemoryClient(session)
    assert client.handshake().tls.get_cipher_name() == "TLS_AES_128_GCM_SHA256"


def test_the_whole_chain_is_served(pki, tmp_path):
    chain = tmp_path / "chain.pem"
    chain.write_bytes(pki.chain.read_bytes() + pki.ca.read_bytes())
    session = Session(server_context([read_certificate(chain, pki.key)]), Negotiator([]), V4.packed, os.urandom)
    client = MemoryClient(session).handshake()
    assert len(client.tls.get_peer_cert_chain(as_cryptography=True)) == 2


def test_a_ca_file_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(CertificateError, match=r"nowhere\.pem holds no certificate in PEM, or cannot be read"):
        client_context(tmp_path / "nowhere.pem")


def test_the_library_has_a_name_and_a_version():
    assert re.fullmatch(r"(OpenSSL|AWS-LC) \d+(\.\d+)+", library())


@pytest.mark.parametrize("length", [-2, -100, -1, 20, 5])
def test_a_chain_that_is_there_in_part_is_refused(pki, tmp_path, length):
    whole, intermediate = pki.chain.read_bytes(), pki.ca.read_bytes().rstrip()
    chain = tmp_path / "chain.pem"
    chain.write_bytes(whole + intermediate[:length])
    with pytest.raises(
        CertificateError, match=r"chain\.pem is damaged behind its certificate 1, or written only in part"
    ):
        read_certificate(chain, pki.key)
    chain.write_bytes(whole + bytes(100))
    with pytest.raises(CertificateError, match="written only in part"):
        read_certificate(chain, pki.key)
    chain.write_bytes(b"subject=a comment\n" + whole + b"issuer=another\n" + intermediate)
    read_certificate(chain, pki.key)
