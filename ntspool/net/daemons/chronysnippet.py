"""The piece of configuration that makes a chronyd a backend, and the certificate that it insists on."""

import os
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ntspool.errors import StateError
from ntspool.net.atomic import Access
from ntspool.net.daemons import keyfile
from ntspool.net.daemons.chronyconf import ChronySetup

_MARK = "# Written by `ntspool agent chrony-config`; your own changes would be lost."
_LIFE = timedelta(days=3650)


def chrony_snippet(setup: ChronySetup) -> str:
    """Return the text of the snippet."""
    port = [] if setup.ke_port is None else [f"ntsport {setup.ke_port}"]
    return "\n".join(
        (
            _MARK,
            "# The cookie keys come from the gateway, by way of the agent.",
            f"ntsdumpdir {setup.key_directory}",
            "ntsrotate 0",
            "# chronyd answers NTS requests only if it has a certificate. No client ever sees this one.",
            f"ntsservercert {setup.certificate}",
            f"ntsserverkey {setup.private_key}",
            *port,
            "",
        )
    )


def install_snippet(path: Path, setup: ChronySetup, now: datetime) -> bool:
    """Write the snippet, and the certificate with its key if they are missing; return whether anything changed.

    chronyd has to be restarted then. Raises StateError, and writes nothing, when `path` holds what we have not written.
    """
    text = chrony_snippet(setup)
    held = _held(path)
    if held is not None and not held.startswith(_MARK + "\n"):
        raise StateError(f"{path} was not written by ntspool and stays as it is; move it away or write elsewhere")
    missing = not all(map(os.path.exists, (setup.certificate, setup.private_key)))
    if missing:
        _write_certificate(setup, now)
    if held != text:
        keyfile.write(path, text.encode(), Access(0o644, 0, 0))
    return missing or held != text


def throwaway_certificate(now: datetime) -> tuple[bytes, bytes]:
    """Return a self-signed certificate, good for ten years and for nothing else, and its private key, both in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ntspool throw-away certificate")])
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _LIFE)
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM), private


def _held(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}") from error


def _write_certificate(setup: ChronySetup, now: datetime) -> None:
    for path in (setup.certificate, setup.private_key):
        if os.path.exists(path):
            raise StateError(f"{path} is there without its other half; move it away or name another")
    certificate, key = throwaway_certificate(now)
    access = keyfile.owners_only(setup.private_key.parent)
    keyfile.write(setup.private_key, key, access)
    keyfile.write(setup.certificate, certificate, access)
