"""A certificate authority for an afternoon: the demo's, and good for nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ntspool.net.atomic import write_atomically

_LIFE = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority whose key exists in memory only; `certificate` is what clients trust, in PEM."""

    certificate: x509.Certificate
    _key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, now: datetime) -> "Authority":
        """Return a new authority, good from a day before `now` to a day after."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name("ntspool demo CA, good for nothing else")
        builder = _builder(subject, subject, key.public_key(), now)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        return cls(builder.sign(key, SHA256()), key)

    def issue(
        self, names: Sequence[str], addresses: Sequence[str], directory: Path, now: datetime
    ) -> tuple[Path, Path]:
        """Write a server certificate and its key (mode 0600) into `directory`; return their paths."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = [*map(x509.DNSName, names), *(x509.IPAddress(ip_address(each)) for each in addresses)]
        builder = _builder(_name(names[0]), self.certificate.subject, key.public_key(), now)
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        issued = builder.sign(self._key, SHA256())
        chain, private = directory / "fullchain.pem", directory / "privkey.pem"
        chain.write_bytes(issued.public_bytes(Encoding.PEM))
        write_atomically(private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return chain, private

    def write(self, path: Path) -> None:
        """Write the authority's certificate in PEM, for everybody to read."""
        path.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        path.chmod(0o644)


def utc_now() -> datetime:
    """Return the present time as certificates want it."""
    return datetime.now(UTC)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
        .not_valid_before(now - _LIFE / 2)
        .not_valid_after(now + _LIFE / 2)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
