"""AEAD ciphers as NTS uses them (RFC 8915 section 5.6): one object a key, made once and reused."""

from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV, AESSIV

from ntspool.errors import WireError
from ntspool.wire.aead import Aead

TAG_LENGTH = 16
"""Bytes by which a ciphertext is longer than its plaintext."""


class Cipher(Protocol):
    """Authenticated encryption under one key."""

    def seal(self, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
        """Encrypt `plaintext` and authenticate it together with `associated`; the tag has TAG_LENGTH."""

    def open(self, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
        """Undo `seal`; raises WireError when anything was altered or the key is another one."""


class SivCipher:
    """AES-SIV-CMAC: the nonce is the last component of the S2V vector, the tag stands first (RFC 5297)."""

    __slots__ = ("_siv",)

    def __init__(self, key: bytes) -> None:
        self._siv = AESSIV(key)

    def seal(self, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
        """See Cipher.seal."""
        return self._siv.encrypt(plaintext, [associated, nonce])

    def open(self, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
        """See Cipher.open."""
        try:
            return self._siv.decrypt(ciphertext, [associated, nonce])
        except (InvalidTag, ValueError) as error:
            raise WireError("the AES-SIV tag does not verify") from error


class GcmSivCipher:
    """AES-128-GCM-SIV: 12-byte nonces only, the tag stands last (RFC 8452)."""

    __slots__ = ("_gcm_siv",)

    def __init__(self, key: bytes) -> None:
        self._gcm_siv = AESGCMSIV(key)

    def seal(self, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
        """See Cipher.seal."""
        return self._gcm_siv.encrypt(nonce, plaintext, associated)

    def open(self, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
        """See Cipher.open."""
        try:
            return self._gcm_siv.decrypt(nonce, ciphertext, associated)
        except (InvalidTag, ValueError) as error:
            raise WireError("the AES-GCM-SIV tag does not verify") from error


def cipher_for(aead: Aead, key: bytes) -> Cipher:
    """Return the cipher of `aead` under `key`, which must have `aead.key_length` bytes."""
    if len(key) != aead.key_length:
        raise ValueError(f"{aead.name} takes {aead.key_length} bytes of key, not {len(key)}")
    return GcmSivCipher(key) if aead is Aead.AES_128_GCM_SIV else SivCipher(key)
