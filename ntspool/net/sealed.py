"""Secrets at rest: what the state directory holds, encrypted under a key that does not lie beside it."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ntspool.errors import StateError
from ntspool.net.secretfile import read_secret
from ntspool.net.systemd import credential
from ntspool.wire.secret import Secret

MARK = b"ntspool sealed 1\n"
"""The first line of an encrypted entry."""

CREDENTIAL = "ntspool-encryption-key"
"""The systemd credential that holds the key-encryption key (LoadCredential=)."""

_SHORTEST = 32
_NONCE = 12


class Seal:
    """Encrypts entries by AES-256-GCM, each bound to its name; without a key entries stay as they are.

    Raises ValueError for a key of less than 32 bytes.
    """

    def __init__(self, key: Secret | None) -> None:
        if key is not None and len(key) < _SHORTEST:
            raise ValueError(f"a key-encryption key has at least {_SHORTEST} bytes, not {len(key)}")
        kdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"ntspool entry encryption")
        self._cipher = None if key is None else AESGCM(kdf.derive(key.reveal()))

    @property
    def encrypts(self) -> bool:
        """Whether there is a key."""
        return self._cipher is not None

    def close(self, name: str, data: bytes, random: Callable[[int], bytes] = os.urandom) -> bytes:
        """Return what is to be written for an entry."""
        if self._cipher is None:
            return data
        nonce = random(_NONCE)
        return MARK + nonce + self._cipher.encrypt(nonce, data, name.encode())

    def open(self, name: str, data: bytes) -> bytes:
        """Undo `close`; an entry from before there was a key is returned as it is.

        Raises StateError for an entry that is damaged, sealed under another key, or under one that is not configured.
        """
        if not data.startswith(MARK):
            return data
        if self._cipher is None:
            raise StateError(f"{name} is encrypted: name its key by `keys: {{encryption_key: FILE}}`")
        sealed = data[len(MARK) :]
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], name.encode())
        except (InvalidTag, ValueError) as error:
            raise StateError(f"{name} was encrypted under another key, or is damaged") from error


def read_seal(path: Path | None) -> Seal:
    """Return the seal under the key in the file `path`, else in systemd's credential, else one that leaves all open.

    Raises StateError when the file cannot be used or others may read it.
    """
    if path is None:
        with suppress(LookupError, OSError):
            passed = credential(CREDENTIAL)
            path = passed if passed.exists() else None
    if path is None:
        return Seal(None)
    try:
        return Seal(Secret(read_secret(path).reveal().strip()))
    except ValueError as error:
        raise StateError(f"{path}: {error}") from error
