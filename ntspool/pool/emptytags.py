"""The tags of an empty plaintext, which is what an NTS request encrypts, and what cryptography before 45 refuses to.

There is nothing to encrypt, so that a tag is all the ciphertext there is.
"""

from struct import pack

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.cmac import CMAC

_BLOCK = 16
_GCM_SIV_NONCE = 12
_POLYVAL = 1 << 128 | 1 << 127 | 1 << 126 | 1 << 121 | 1
_PADDED_NOTHING = 0x80 << 120


def are_needed() -> bool:
    """Tell whether the library refuses to encrypt nothing. One that has no AES-SIV at all does not."""
    try:
        return AESSIV(bytes(32)).decrypt(AESSIV(bytes(32)).encrypt(b"", None), None) != b""
    except UnsupportedAlgorithm:
        return False
    except (ValueError, InvalidTag):
        return True


def siv_tag(key: bytes, nonce: bytes, associated: bytes) -> bytes:
    """Return the tag of AES-SIV-CMAC: S2V of three components, the last one empty (RFC 5297 section 2.4)."""
    mac_key = AES(key[: len(key) // 2])
    digest = _cmac(mac_key, bytes(_BLOCK))
    for component in (associated, nonce):
        digest = _double(digest) ^ _cmac(mac_key, component)
    return _cmac(mac_key, (_double(digest) ^ _PADDED_NOTHING).to_bytes(_BLOCK, "big")).to_bytes(_BLOCK, "big")


def gcm_siv_tag(key: bytes, nonce: bytes, associated: bytes) -> bytes:
    """Return the tag of AES-128-GCM-SIV (RFC 8452 section 4); raises ValueError unless `nonce` has 12 bytes."""
    if len(nonce) != _GCM_SIV_NONCE:
        raise ValueError(f"a nonce of AES-128-GCM-SIV has {_GCM_SIV_NONCE} bytes, not {len(nonce)}")
    halves = [_encrypt_block(key, pack("<I", counter) + nonce)[:8] for counter in range(4)]
    digest, mac_key = 0, int.from_bytes(halves[0] + halves[1], "little")
    padded = associated + bytes(-len(associated) % _BLOCK) + pack("<QQ", len(associated) * 8, 0)
    for at in range(0, len(padded), _BLOCK):
        digest = _dot(digest ^ int.from_bytes(padded[at : at + _BLOCK], "little"), mac_key)
    digest = (digest ^ int.from_bytes(nonce, "little")) & ~(1 << 127)
    return _encrypt_block(halves[2] + halves[3], digest.to_bytes(_BLOCK, "little"))


def _cmac(key: AES, data: bytes) -> int:
    mac = CMAC(key)
    mac.update(data)
    return int.from_bytes(mac.finalize(), "big")


def _double(block: int) -> int:
    """Multiply by x in the field of S2V (RFC 5297 section 2.3)."""
    return (block << 1) % (1 << 128) ^ (0x87 if block >> 127 else 0)


def _dot(one: int, other: int) -> int:
    """Multiply in the field of POLYVAL (RFC 8452 section 3): both, and x to the -128th."""
    product = 0
    for bit in range(128):
        product ^= one if other >> bit & 1 else 0
        product = (product ^ _POLYVAL if product & 1 else product) >> 1
    return product


def _encrypt_block(key: bytes, block: bytes) -> bytes:
    return Cipher(AES(key), ECB()).encryptor().update(block)  # noqa: S305  -- one block, as RFC 8452 has it
