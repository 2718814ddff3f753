"""The pool's internal certificate authority: it vouches for agents to gateways and for gateways to agents."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ntspool.errors import ConflictError, RemoteError, StateError, WireError
from ntspool.net.sealed import Seal
from ntspool.net.store import Store
from ntspool.pool.unreadable import UNREADABLE
from ntspool.wire.secret import Secret

ENTRY = "authority"

CONTROL_NAME = "ntspool-control"
"""The DNS name in every control port's certificate; agents know gateways by it, whatever their addresses."""

AUTHORITY_LIFE = 20 * 365 * 86400.0
"""Seconds; when it ends every agent has to be enrolled again."""

AGENT_LIFE = 30 * 86400.0
"""Seconds; an agent that is cut off for longer has to be enrolled again."""

CONTROL_LIFE = 7 * 86400.0
"""Seconds; a gateway makes itself a new certificate at each start, and after half of this."""

_MAX_CSR_LENGTH = 4096
_AUTHORITY_NAME = "ntspool internal CA"
# A common name holds 64 characters at most, a backend's name 99: this alternative name is the one that counts.
_AGENT_URI = "urn:ntspool:agent:"
# Certificates are good from a while before they are made: clocks differ, those of backends just switched on the most.
_BACKDATED = 86400.0


@dataclass(frozen=True, slots=True)
class Authority:
    """The authority's certificate and private key; `load_or_create` makes it."""

    certificate: x509.Certificate
    _key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate that both sides trust, in PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def fingerprint(self) -> bytes:
        """The SHA-256 of that certificate: what a token pins."""
        return fingerprint(self.certificate)

    def encode(self) -> bytes:
        """Return the authority as it is kept in the store: private key and certificate in PEM. Secret."""
        return _private_pem(self._key) + self.pem

    def sign_agent(self, csr: bytes, backend: str, serial: int, now: float) -> bytes:
        """Return the certificate (PEM) of `backend`'s agent; raises WireError for a request that `read_csr` refuses.

        Nothing but the key is taken from the request: who the agent is, its token or its old certificate says.
        """
        key = read_csr(csr)
        builder = _builder(backend[:64], key, serial, now, AGENT_LIFE)
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(_AGENT_URI + backend)])
        return self._sign(builder, names, ExtendedKeyUsageOID.CLIENT_AUTH)

    def issue_control(self, now: float) -> Secret:
        """Return the private key and certificate of a control port, in one PEM text."""
        key = ec.generate_private_key(ec.SECP256R1())
        serial = x509.random_serial_number()
        builder = _builder(CONTROL_NAME, key.public_key(), serial, now, CONTROL_LIFE)
        names = x509.SubjectAlternativeName([x509.DNSName(CONTROL_NAME)])
        return Secret(_private_pem(key) + self._sign(builder, names, ExtendedKeyUsageOID.SERVER_AUTH))

    def _sign(
        self, builder: x509.CertificateBuilder, names: x509.SubjectAlternativeName, usage: x509.ObjectIdentifier
    ) -> bytes:
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.issuer_name(self.certificate.subject)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(issuer, critical=False).add_extension(names, critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
        return builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM)


def load_or_create(store: Store, now: float, seal: Seal | None = None) -> Authority:
    """Return the authority of the store, a new one of Unix time `now` if there is none yet; raises StateError."""
    seal = seal or Seal(None)
    while True:
        held = store.get(ENTRY)
        if held is not None:
            return _decode(seal.open(ENTRY, held[0]))
        fresh = _make(now)
        try:
            store.put_if(ENTRY, seal.close(ENTRY, fresh.encode()), None)
        except ConflictError:
            # Another process was faster; its authority is the one.
            continue
        return fresh


def fingerprint(certificate: x509.Certificate) -> bytes:
    """Return the SHA-256 of a certificate."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()


def agent_of(certificate: x509.Certificate) -> str:
    """Return the backend whose agent a verified certificate names; raises WireError when it names none."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (*UNREADABLE, x509.ExtensionNotFound) as error:
        raise WireError("a certificate names no agent") from error
    if len(uris) != 1 or not uris[0].startswith(_AGENT_URI):
        raise WireError("a certificate names no agent")
    return uris[0].removeprefix(_AGENT_URI)


def check_pinned(pem: bytes, pinned: bytes) -> bytes:
    """Return the authority's certificate (PEM) that somebody not known yet sent, if its SHA-256 is `pinned`.

    Raises WireError when it is no certificate, RemoteError when it is another one.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except UNREADABLE as error:
        raise WireError("it sent no certificate of an authority") from error
    if fingerprint(certificate) != pinned:
        raise RemoteError("it is not of the pool that the token names")
    return certificate.public_bytes(Encoding.PEM)


def check_issued(certificate: bytes, private: Secret, trusted: bytes) -> str:
    """Return whose agent a new certificate names; raises WireError unless the authority signed it for our key.

    All are PEM: what was sent, our private key, and the authority's certificate.
    """
    try:
        issued = x509.load_pem_x509_certificate(certificate)
        issued.verify_directly_issued_by(x509.load_pem_x509_certificate(trusted))
        key = issued.public_key()
    except (*UNREADABLE, InvalidSignature) as error:
        raise WireError("it sent no certificate of the pool's authority") from error
    if key != load_pem_private_key(private.reveal(), password=None).public_key():
        raise WireError("it sent a certificate for another key")
    return agent_of(issued)


def make_request() -> tuple[Secret, bytes]:
    """Return a new private key (PEM) and the request (PEM) for its certificate; an agent calls this."""
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, SHA256())
    return Secret(_private_pem(key)), csr.public_bytes(Encoding.PEM)


def read_csr(csr: bytes) -> ec.EllipticCurvePublicKey:
    """Return the key that a certificate is requested for; raises WireError unless it is P-256 and signed it."""
    if len(csr) > _MAX_CSR_LENGTH:
        raise WireError(f"a certificate request of {len(csr)} bytes is too long")
    try:
        request = x509.load_pem_x509_csr(csr)
        key = request.public_key()
        # The kind of key comes first: to verify a giant RSA key's signature costs what an attacker wants it to.
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise WireError("a certificate is requested for a key that is not P-256")
        if not request.is_signature_valid:
            raise WireError("a certificate request is not signed by its own key")
    except UNREADABLE as error:
        raise WireError("a certificate request is malformed") from error
    return key


def _decode(data: bytes) -> Authority:
    try:
        key = load_pem_private_key(data, password=None)
        certificate = x509.load_pem_x509_certificate(data)
        certified = certificate.public_key()
    except UNREADABLE as error:
        raise StateError("the pool's authority is damaged; restore it from a backup") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certified:
        raise StateError("the pool's authority is damaged: key and certificate differ; restore it from a backup")
    return Authority(certificate, key)


def _make(now: float) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    builder = _builder(_AUTHORITY_NAME, key.public_key(), serial, now, AUTHORITY_LIFE)
    builder = builder.issuer_name(_name(_AUTHORITY_NAME))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return Authority(builder.sign(key, SHA256()), key)


def _builder(
    common_name: str, key: ec.EllipticCurvePublicKey, serial: int, now: float, life: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder(None, _name(common_name), key, serial)
        .not_valid_before(datetime.fromtimestamp(max(now - _BACKDATED, 0), UTC))
        .not_valid_after(datetime.fromtimestamp(now + life, UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
