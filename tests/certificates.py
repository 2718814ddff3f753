"""Certificates that OpenSSL takes as they come and cryptography does not, for tests of who reads them."""

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding


def of_no_version(pem):
    """Return the first certificate of a text in DER, said to be of version 6; there are three."""
    data = x509.load_pem_x509_certificates(pem)[0].public_bytes(Encoding.DER)
    version_3 = bytes.fromhex("a003020102")
    assert data.count(version_3) == 1
    return data.replace(version_3, bytes.fromhex("a003020105"))


def with_strange_names(pem):
    """Return the first certificate of a text in DER, with alternative names that are no ASCII."""
    data = x509.load_pem_x509_certificates(pem)[0].public_bytes(Encoding.DER)
    before, name, behind = data.rpartition(b"localhost")
    return before + name.replace(b"o", b"\xff") + behind


def with_a_strange_name(pem):
    """Return the first certificate of a text in DER, with names that are no text but a string of bits."""
    data = x509.load_pem_x509_certificates(pem)[0].public_bytes(Encoding.DER)
    common_name = bytes.fromhex("0603550403 0c".replace(" ", ""))
    assert common_name in data
    return data.replace(common_name, common_name[:-1] + b"\x03")
