"""ntspool/net/clienttls.py: whether a certificate is for a name."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID

from ntspool.net.clienttls import covers_name

NAMES = b"\x30\x0a\x82\x08own.test"


def certificate(names):
    """Return a certificate whose subjectAltName has these bytes, None: that has none."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    builder = x509.CertificateBuilder(x509.Name([]), x509.Name([]), key.public_key(), 1, now, now + timedelta(1))
    if names is not None:
        builder = builder.add_extension(
            x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, names), critical=False
        )
    return builder.sign(key, hashes.SHA256())


def test_a_name_is_covered_or_not():
    assert covers_name(certificate(NAMES), "own.test")
    assert not covers_name(certificate(NAMES), "other.test")


@pytest.mark.parametrize("name", ["own.test", "own", "192.0.2.1"])
@pytest.mark.parametrize(
    "names",
    [
        None,
        b"\x30\x00",
        b"no names",
        b"\x30\x04\x82\x02\xff\xfe",
        b"\x30\x05\x87\x03abc",
        b"\x30\x04\x82\x02*.",
        b"\x30\x05\x82\x03*.*",
        b"\x30\x04\xa3\x02\x30\x00",
    ],
)
def test_names_that_are_none_cover_nothing(names, name):
    assert not covers_name(certificate(names), name)
