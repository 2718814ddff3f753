"""What an enrolled agent keeps: who it is, its private key and certificate, and whom it trusts and asks."""

import json
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from ntspool.errors import StateError
from ntspool.net.mutualtls import client_context
from ntspool.net.store import FileStore
from ntspool.pool.unreadable import UNREADABLE
from ntspool.wire.secret import Secret

ENTRY = "identity"

_FORMAT = 1
_TRIED = "writable"
_ROOM = 16384  # bytes: an identity is smaller


@dataclass(frozen=True, slots=True)
class Identity:
    """A backend's agent: `gateways` are HOST:PORT, the others PEM; the certificate is for the key `private`."""

    backend: str
    gateways: tuple[str, ...]
    authority: bytes
    private: Secret
    certificate: bytes

    @property
    def pem(self) -> Secret:
        """Private key and certificate in one text, as TLS takes them."""
        return Secret(self.private.reveal() + self.certificate)

    @property
    def expires(self) -> float:
        """When the certificate ends, in Unix seconds."""
        return x509.load_pem_x509_certificate(self.certificate).not_valid_after_utc.timestamp()


def read(directory: Path) -> Identity:
    """Return the identity kept in `directory`; raises StateError when there is none or it cannot be used."""
    held = FileStore(directory).get(ENTRY)
    if held is None:
        raise StateError(f"no agent is enrolled in {directory}; run `ntspool agent enroll` with a token")
    try:
        kept = json.loads(held[0])
        if kept["format"] != _FORMAT:
            raise StateError(f"{directory / ENTRY} has format {kept['format']}; this ntspool reads format {_FORMAT}")
        trusted, private, certificate = (kept[name].encode() for name in ("authority", "private", "certificate"))
        gateways = tuple(map(str, kept["gateways"]))
        identity = Identity(str(kept["backend"]), gateways, trusted, Secret(private), certificate)
        x509.load_pem_x509_certificate(identity.authority)
        x509.load_pem_x509_certificate(identity.certificate)
        client_context(identity.pem, identity.authority)
    except (*UNREADABLE, ssl.SSLError, KeyError, AttributeError, RecursionError):
        # What was read may be quoted in these errors, and is secret.
        raise StateError(f"{directory / ENTRY} is damaged; enrol the agent again") from None
    return identity


def write(directory: Path, identity: Identity) -> None:
    """Keep an identity in place of what there was; raises StateError."""
    store = FileStore(directory)
    held = store.get(ENTRY)
    store.put_if(ENTRY, _encode(identity), None if held is None else held[1])


def check_writable(directory: Path) -> None:
    """Raise StateError when an identity could not be kept in `directory`: before a token or a call is spent on it."""
    store = FileStore(directory)
    store.get(ENTRY)
    (directory / _TRIED).unlink(missing_ok=True)
    store.put_if(_TRIED, bytes(_ROOM), None)
    (directory / _TRIED).unlink()


def _encode(identity: Identity) -> bytes:
    kept = {
        "format": _FORMAT,
        "backend": identity.backend,
        "gateways": identity.gateways,
        "authority": identity.authority.decode(),
        "private": identity.private.reveal().decode(),
        "certificate": identity.certificate.decode(),
    }
    return json.dumps(kept, indent=1).encode() + b"\n"
