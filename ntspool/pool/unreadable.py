"""What cryptography raises for certificates that are none, or odd beyond its powers."""

from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

UNREADABLE: Final = (
    ValueError,
    TypeError,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    UnsupportedAlgorithm,
)
"""Catch all of it around whatever is read of a certificate that somebody else sent: some of it is read late."""
