"""AEAD ciphers as NTS uses them (RFC 8915 section 5.6): one object a key, made once and reused."""

from collections.abc import Callable, Sequence
from hmac import compare_digest
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV, AESSIV

from ntspool.errors import WireError
from ntspool.pool import emptytags
from ntspool.pool.siv import ComposedSiv
from ntspool.wire.aead import Aead

TAG_LENGTH = 16
"""Bytes by which a ciphertext is longer than its plaintext."""


def _is_without_siv() -> bool:
    try:
        AESSIV(bytes(32))
    except UnsupportedAlgorithm:
        return True
    return False


_IS_WITHOUT_SIV: Final = _is_without_siv()
_EMPTY_IS_REFUSED: Final = emptytags.are_needed()


class Cipher(Protocol):
    """Authenticated encryption under one key."""

    def seal(self, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
        """Encrypt `plaintext` and authenticate it together with `associated`; the tag has TAG_LENGTH."""

    def seal_each(self, nonces: Sequence[bytes], plaintext: bytes, associated: Sequence[bytes]) -> list[bytes]:
        """Return what `seal` does for each of `nonces` with its own of `associated`."""

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

    def seal_each(self, nonces: Sequence[bytes], plaintext: bytes, associated: Sequence[bytes]) -> list[bytes]:
        """See Cipher.seal_each."""
        encrypt = self._siv.encrypt
        return [encrypt(plaintext, [each, nonce]) for nonce, each in zip(nonces, associated, strict=True)]

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

    def seal_each(self, nonces: Sequence[bytes], plaintext: bytes, associated: Sequence[bytes]) -> list[bytes]:
        """See Cipher.seal_each."""
        return [self.seal(nonce, plaintext, each) for nonce, each in zip(nonces, associated, strict=True)]

    def open(self, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
        """See Cipher.open."""
        try:
            return self._gcm_siv.decrypt(nonce, ciphertext, associated)
        except (InvalidTag, ValueError) as error:
            raise WireError("the AES-GCM-SIV tag does not verify") from error


class Emptied:
    """A cipher with a way of its own for empty plaintexts, by `tag`, under the same key; see emptytags.py."""

    __slots__ = ("_cipher", "_key", "_tag")

    def __init__(self, cipher: Cipher, key: bytes, tag: Callable[[bytes, bytes, bytes], bytes]) -> None:
        self._cipher = cipher
        self._key = key
        self._tag = tag

    def seal(self, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
        """See Cipher.seal."""
        if plaintext:
            return self._cipher.seal(nonce, plaintext, associated)
        return self._tag(self._key, nonce, associated)

    def seal_each(self, nonces: Sequence[bytes], plaintext: bytes, associated: Sequence[bytes]) -> list[bytes]:
        """See Cipher.seal_each."""
        if plaintext:
            return self._cipher.seal_each(nonces, plaintext, associated)
        return [self._tag(self._key, nonce, each) for nonce, each in zip(nonces, associated, strict=True)]

    def open(self, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
        """See Cipher.open."""
        if len(ciphertext) != TAG_LENGTH:
            return self._cipher.open(nonce, ciphertext, associated)
        try:
            if compare_digest(self._tag(self._key, nonce, associated), ciphertext):
                return b""
        except ValueError as error:
            raise WireError("the tag does not verify: the nonce has a wrong length") from error
        raise WireError("the tag does not verify")


def cipher_for(aead: Aead, key: bytes) -> Cipher:
    """Return the cipher of `aead` under `key`, which must have `aead.key_length` bytes."""
    if len(key) != aead.key_length:
        raise ValueError(f"{aead.name} takes {aead.key_length} bytes of key, not {len(key)}")
    gcm_siv = aead is Aead.AES_128_GCM_SIV
    if not gcm_siv and _IS_WITHOUT_SIV:
        return ComposedSiv(key)
    cipher = GcmSivCipher(key) if gcm_siv else SivCipher(key)
    if _EMPTY_IS_REFUSED:
        return Emptied(cipher, key, emptytags.gcm_siv_tag if gcm_siv else emptytags.siv_tag)
    return cipher
