"""What OpenSSL finds wrong with a server's certificates, collected instead of ending the handshake."""

from OpenSSL import SSL, crypto

from ntspool.pool.exam.printable import printable
from ntspool.pool.unreadable import UNREADABLE

_WORDS = {
    2: "the issuer of {} is not among the authorities",
    9: "{} is not valid yet",
    10: "{} has expired",
    18: "{} is self-signed, and not among the authorities",
    19: "the chain ends in {}, which is self-signed and not among the authorities",
    20: "the issuer of {} is neither sent nor among the authorities",
    21: "the signature of {} cannot be verified: its issuer is neither sent nor among the authorities",
    23: "{} is revoked",
    24: "{} is no authority's certificate",
    26: "{} is not for TLS servers",
    66: "the key of {} is too weak",
    67: "the key of an authority, {}, is too weak",
    68: "the signature of {} is too weak",
}
"""By the X509_V_ERR numbers of OpenSSL, which are part of its interface."""

_FOLLOWS = 21
"""Said of a leaf about which 20 was said already."""


class Trouble:
    """Collects; hand `note` to `SSL.Context.set_verify`."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, str], None] = {}

    def note(self, _: SSL.Connection, certificate: crypto.X509, number: int, depth: int, good: int) -> bool:
        """Take note of an error, and let the handshake go on."""
        if not good and not (number == _FOLLOWS and self._found):
            self._found[number, _subject(certificate, depth)] = None
        return True

    def words(self) -> tuple[str, ...]:
        """Return what was found, in words that name the certificate."""
        return tuple(_WORDS.get(number, f"{{}}: OpenSSL error {number}").format(who) for number, who in self._found)


def _subject(certificate: crypto.X509, depth: int) -> str:
    try:
        name = printable(certificate.to_cryptography().subject.rfc4514_string())
    except UNREADABLE:
        name = ""
    return name or ("an issuer" if depth else "the certificate")
