"""TLS as RFC 8915 section 3 wants it, by pyOpenSSL: the standard library has no exporter (RFC 5705)."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, SECP521R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto

from ntspool.errors import CertificateError, StateError
from ntspool.net.secretfile import read_secret
from ntspool.pool.model import Certificate
from ntspool.pool.unreadable import UNREADABLE
from ntspool.wire.secret import Secret

ALPN_NTSKE = b"ntske/1"

NO_ALPN = "the client sends no ALPN"
"""What is said of a handshake without ALPN, which OpenSSL lets pass and RFC 8915 section 4 does not."""

_AES_128 = b"TLS_AES_128_GCM_SHA256"
_CIPHER_SUITES = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

_CURVES = (SECP256R1, SECP384R1, SECP521R1)
T = TypeVar("T")
_PrivateKey = EllipticCurvePrivateKey | RSAPrivateKey | Ed25519PrivateKey | Ed448PrivateKey


def read_certificate(chain: Path, key: Path) -> Certificate:
    """Read a certificate chain (leaf first) and its private key, both PEM.

    Raises CertificateError when one cannot be read, is no such thing, when others may read the key, when the two do
    not belong together, or when OpenSSL finds them too weak.
    """
    certificate = Certificate(_read(chain), _read_key(key))
    try:
        leaf, *others = _chain(certificate)
        certified = leaf.public_key()
        # What is read of it later must be there to read.
        dns_names(certificate)
        not_after(certificate)
    except UNREADABLE as error:
        raise CertificateError(f"{chain} holds no certificate in PEM") from error
    if _is_torn(certificate.chain, 1 + len(others)):
        raise CertificateError(f"{chain} is damaged behind its certificate {1 + len(others)}, or written only in part")
    try:
        private = _private_key(certificate)
    except UNREADABLE as error:
        raise CertificateError(f"{key} holds no unencrypted private key in PEM that TLS 1.3 can use") from error
    if private.public_key() != certified:
        raise CertificateError(f"{key} is not the private key of the certificate in {chain}")
    try:
        certificate_context(certificate)
    except (SSL.Error, crypto.Error) as error:
        raise CertificateError(f"{chain} is of no use for TLS: {describe(error)}") from error
    return certificate


def dns_names(certificate: Certificate) -> tuple[str, ...]:
    """Return the names of the leaf's subjectAltName, in lower case; a wildcard as `*.example.com`."""
    try:
        extension = _chain(certificate)[0].extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(name.lower() for name in extension.value.get_values_for_type(x509.DNSName))


def not_after(certificate: Certificate) -> float:
    """Return until when the chain is valid, in Unix seconds: the first of its certificates to expire decides."""
    return min(each.not_valid_after_utc.timestamp() for each in _chain(certificate))


def covers(names: Sequence[str], host: str) -> bool:
    """Tell whether a certificate with these `dns_names` is good for `host` (RFC 6125: one wildcard label)."""
    return host in names or f"*.{host.partition('.')[2]}" in names


class ByName(Generic[T]):
    """Values by the names of their certificates, found at the same cost however many there are.

    Where several certificates cover a host, the first one given stands.
    """

    def __init__(self, pairs: Iterable[tuple[Sequence[str], T]]) -> None:
        self._values: list[T] = []
        self._positions: dict[str, int] = {}
        for names, value in pairs:
            for name in names:
                self._positions.setdefault(name, len(self._values))
            self._values.append(value)

    def get(self, host: str) -> T | None:
        """Return what is good for `host` (lower case), None if no certificate covers it; see `covers`."""
        names = (host, f"*.{host.partition('.')[2]}")
        found = [self._positions[name] for name in names if name in self._positions]
        return self._values[min(found)] if found else None

    def values(self) -> Sequence[T]:
        """Return all of them, in the order given."""
        return self._values


def certificate_context(certificate: Certificate, *, only_aes_128: bool = False) -> SSL.Context:
    """Return a server's context for one certificate: TLS 1.3, and AES-128-GCM wherever the client has that.

    AES-256-GCM would bring SHA-384 into the key schedule, 20 microseconds a session, for clients that accept either.
    With `only_aes_128` the others are turned away ("no shared cipher").
    """
    context = bare_context(SSL.TLS_SERVER_METHOD)
    leaf, *intermediates = _chain(certificate)
    context.use_certificate(leaf)
    for intermediate in intermediates:
        context.add_extra_chain_cert(intermediate)
    context.use_privatekey(_private_key(certificate))
    context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
    # pyOpenSSL before 25.2 cannot tell OpenSSL; the client's order stands then.
    if hasattr(context, "set_tls13_ciphersuites"):
        context.set_tls13_ciphersuites(_AES_128 if only_aes_128 else _CIPHER_SUITES)
    return context


def library() -> str:
    """Return the TLS library and its version: "OpenSSL 4.0.3"."""
    return " ".join(SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode().split()[:2])


def clients_order_stands() -> bool:
    """Tell whether the TLS library, whatever it is told, takes of AES-128 and AES-256 what the client names first."""
    return library().startswith("AWS-LC")


def client_context(ca: Path | bytes | None) -> SSL.Context:
    """Return the context of an NTS-KE client that trusts `ca` (a PEM file, or PEM), None: the system's authorities.

    The caller must check the server's name after the handshake: OpenSSL does so only if told by ways that
    pyOpenSSL does not have. Raises CertificateError when `ca` cannot be used.
    """
    context = bare_context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_PEER, _note_refusal)
    context.set_alpn_protos([ALPN_NTSKE])
    if ca is None:
        context.set_default_verify_paths()
        return context
    if isinstance(ca, bytes):
        _trust(context, ca)
        return context
    try:
        context.load_verify_locations(str(ca))
    except SSL.Error as error:
        raise CertificateError(f"{ca} holds no certificate in PEM, or cannot be read") from error
    return context


def _note_refusal(connection: SSL.Connection, _certificate: object, error: int, _depth: int, good: int) -> bool:
    """Keep for `describe_refusal` why OpenSSL does not trust a certificate."""
    if not good:
        connection.set_app_data(error)
    return bool(good)


_REFUSALS = {
    7: "its signature is not its authority's",
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is signed by itself",
    19: "its authority is not trusted here",
    20: "its authority is not known here",
    21: "its authority is not known here",
    26: "it is for another purpose",
    66: "its key is too weak",
}
"""What is wrong with a certificate, by OpenSSL's numbers (X509_STORE_CTX_get_error)."""


def describe_refusal(connection: SSL.Connection, error: SSL.Error) -> str:
    """Return why a client's handshake failed; see `describe`."""
    refusal = connection.get_app_data()
    return describe(error) if refusal not in _REFUSALS else f"{describe(error)}, {_REFUSALS[refusal]}"


def _trust(context: SSL.Context, authorities: bytes) -> None:
    store = context.get_cert_store()
    try:
        certificates = list(map(crypto.X509.from_cryptography, x509.load_pem_x509_certificates(authorities)))
    except (*UNREADABLE, crypto.Error) as error:
        raise CertificateError("the authorities are no certificates in PEM") from error
    if store is not None:
        for each in certificates:
            store.add_cert(each)


def describe(error: SSL.Error | crypto.Error) -> str:
    """Return OpenSSL's last word on a failure; it gives none when the connection just ended."""
    queue = error.args[0] if error.args else None
    return in_words(str(queue[-1][-1])) if isinstance(queue, list) and queue else "connection lost"


def in_words(reason: str) -> str:
    """Return a reason as OpenSSL has it; AWS-LC has NAMES_LIKE_THIS instead."""
    return reason.replace("_", " ").lower() if reason.isupper() else reason


def bare_context(method: int) -> SSL.Context:
    """Return a context of TLS 1.3 without a cache of sessions, for SSL.TLS_SERVER_METHOD or SSL.TLS_CLIENT_METHOD."""
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


def _chain(certificate: Certificate) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(certificate.chain)


def _is_torn(pem: bytes, certificates: int) -> bool:
    """Tell whether PEM holds the beginning of a certificate beside the whole ones, which the library passes over."""
    tail = re.split(rb"-----END [A-Z0-9 ]+-----", pem)[-1]
    begun = len(re.findall(rb"-----BEGIN (?:X509 )?CERTIFICATE-----", pem))
    return begun != certificates or b"\0" in pem or any(line.startswith(b"-") for line in tail.splitlines())


def _private_key(certificate: Certificate) -> _PrivateKey:
    key = load_pem_private_key(certificate.key.reveal(), password=None)
    if not isinstance(key, _PrivateKey):
        raise TypeError(f"{type(key).__name__} is no key for TLS 1.3")
    if isinstance(key, EllipticCurvePrivateKey) and not isinstance(key.curve, _CURVES):
        raise TypeError(f"{key.curve.name} is no curve of TLS 1.3")
    return key


def _read_key(path: Path) -> Secret:
    try:
        return read_secret(path)
    except StateError as error:
        raise CertificateError(str(error)) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}") from error
