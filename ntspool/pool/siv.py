"""AES-SIV-CMAC (RFC 5297) out of AES blocks, for a library that has none: AWS-LC.

One message costs four times what OpenSSL takes for it. The eight cookies of a session, though, differ by their
nonces, at most by their associated data: what they share is computed once and the rest side by side, in a handful of
calls of AES.
"""

from collections.abc import Sequence
from functools import lru_cache
from hmac import compare_digest
from struct import Struct

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from ntspool.errors import WireError

_BLOCK = 16
_BLOCK_MAX = (1 << 128) - 1
_COUNTER = _BLOCK_MAX & ~(1 << 63 | 1 << 31)
"""The bits of a tag that the counter begins with: without these two, no count carries (RFC 5297 section 2.5)."""


class ComposedSiv:
    """AES-SIV-CMAC under `key`, of 32 or 64 bytes; see ciphers.Cipher."""

    __slots__ = ("_associated", "_counter", "_digest", "_last", "_last_padded", "_mac", "_zero")

    def __init__(self, key: bytes) -> None:
        half = len(key) // 2
        # Block by block is what this mode is; what stands around the blocks makes them CMAC and a stream.
        self._mac = Cipher(AES(key[:half]), ECB()).encryptor().update  # noqa: S305
        self._counter = Cipher(AES(key[half:]), ECB()).encryptor().update  # noqa: S305
        self._last = _double(_number(self._mac(bytes(_BLOCK))))
        self._last_padded = _double(self._last)
        self._zero = _double(self._cmac(bytes(_BLOCK)))
        self._associated = b""
        self._digest = _double(self._zero ^ self._cmac(b""))

    def seal(self, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
        """See ciphers.Cipher.seal."""
        tag = self._tag(nonce, plaintext, associated)
        return tag + self._xor_stream(tag, plaintext)

    def open(self, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
        """See ciphers.Cipher.open."""
        tag = ciphertext[:_BLOCK]
        if len(tag) == _BLOCK:
            plaintext = self._xor_stream(tag, ciphertext[_BLOCK:])
            if compare_digest(self._tag(nonce, plaintext, associated), tag):
                return plaintext
        raise WireError("the AES-SIV tag does not verify")

    def seal_each(self, nonces: Sequence[bytes], plaintext: bytes, associated: Sequence[bytes]) -> list[bytes]:
        """See ciphers.Cipher.seal_each."""
        if len(plaintext) < 2 * _BLOCK or set(map(len, nonces)) != {_BLOCK} or len(set(map(len, associated))) != 1:
            return [self.seal(nonce, plaintext, each) for nonce, each in zip(nonces, associated, strict=True)]
        count, ones, size = len(nonces), _ones(len(nonces)), _BLOCK * len(nonces)
        tags = self._tags(self._digests(associated, ones) ^ self._cmacs(nonces, ones), plaintext, size, ones)
        # From here on the first block of every message, then the second of every one, and so on.
        first, starts = tags & _COUNTER * ones, range(0, len(plaintext), _BLOCK)
        counters = b"".join([(first + at * ones).to_bytes(size, "big") for at in range(len(starts))])
        padded = plaintext.ljust(len(starts) * _BLOCK, b"\0")
        spread = b"".join([padded[at : at + _BLOCK] * count for at in starts])
        sealed = (_number(self._counter(counters)) ^ _number(spread)).to_bytes(len(spread), "big")
        blocks = _blocks(count * (len(starts) + 1)).unpack(tags.to_bytes(size, "big") + sealed)
        return [b"".join(blocks[at::count])[: _BLOCK + len(plaintext)] for at in range(count)]

    def _tags(self, digests: int, plaintext: bytes, size: int, ones: int) -> int:
        """Return the tags of a plaintext of two blocks or more, a block each, by S2V's digests of what comes before.

        A digest is added to the plaintext's last 16 bytes, so that all before these is the same in every tag. A
        number times `ones` is that number for each.
        """
        beyond = len(plaintext) % _BLOCK
        shared = len(plaintext) - _BLOCK - beyond
        state = self._chain(plaintext[:shared])
        if not beyond:
            return self._encrypt(digests ^ (state ^ _number(plaintext[shared:]) ^ self._last) * ones, size)
        # The 16 bytes lie across two blocks, of which CMAC pads the second.
        into, out = 8 * beyond, 8 * (_BLOCK - beyond)
        high = digests >> into & (_BLOCK_MAX >> into) * ones
        low = digests << out & (_BLOCK_MAX << out & _BLOCK_MAX) * ones
        same_high, same_low = _number(plaintext[shared:][:_BLOCK]) ^ state, self._padded(plaintext[shared + _BLOCK :])
        return self._encrypt(self._encrypt(high ^ same_high * ones, size) ^ low ^ same_low * ones, size)

    def _digests(self, associated: Sequence[bytes], ones: int) -> int:
        """S2V's doubled digests before the nonces, a block each."""
        if len(set(associated)) == 1:
            return self._digest_of(associated[0]) * ones
        digests = self._cmacs(associated, ones) ^ self._zero * ones
        return (digests & (_BLOCK_MAX >> 1) * ones) << 1 ^ (digests >> 127 & ones) * 0x87

    def _digest_of(self, associated: bytes) -> int:
        # Most keys' cookies have always the same.
        if associated != self._associated:
            self._associated, self._digest = associated, _double(self._zero ^ self._cmac(associated))
        return self._digest

    def _cmacs(self, messages: Sequence[bytes], ones: int) -> int:
        """CMAC (RFC 4493 section 2.4) of messages of one length, a block each."""
        size, end = _BLOCK * len(messages), max(0, (len(messages[0]) - 1) // _BLOCK * _BLOCK)
        state = 0
        for at in range(0, end, _BLOCK):
            state = self._encrypt(state ^ _number(b"".join([each[at : at + _BLOCK] for each in messages])), size)
        if len(messages[0]) - end == _BLOCK:
            lasts = _number(b"".join([each[end:] for each in messages])) ^ self._last * ones
        else:
            padded = [(each[end:] + b"\x80").ljust(_BLOCK, b"\0") for each in messages]
            lasts = _number(b"".join(padded)) ^ self._last_padded * ones
        return self._encrypt(state ^ lasts, size)

    def _encrypt(self, blocks: int, size: int) -> int:
        return _number(self._mac(blocks.to_bytes(size, "big")))

    def _tag(self, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
        """S2V of three components (RFC 5297 section 2.4)."""
        digest = self._digest_of(associated) ^ self._cmac(nonce)
        if len(plaintext) >= _BLOCK:
            head, end = plaintext[:-_BLOCK], _number(plaintext[-_BLOCK:]) ^ digest
            return self._cmac(head + end.to_bytes(_BLOCK, "big")).to_bytes(_BLOCK, "big")
        padded = _number((plaintext + b"\x80").ljust(_BLOCK, b"\0"))
        return self._cmac((_double(digest) ^ padded).to_bytes(_BLOCK, "big")).to_bytes(_BLOCK, "big")

    def _cmac(self, data: bytes) -> int:
        return self._cmacs((data,), 1)

    def _padded(self, last: bytes) -> int:
        return _number((last + b"\x80").ljust(_BLOCK, b"\0")) ^ self._last_padded

    def _chain(self, blocks: bytes) -> int:
        state = 0
        for at in range(0, len(blocks), _BLOCK):
            state = self._encrypt(state ^ _number(blocks[at : at + _BLOCK]), _BLOCK)
        return state

    def _xor_stream(self, tag: bytes, data: bytes) -> bytes:
        first = _number(tag) & _COUNTER
        blocks = range(first, first + -(-len(data) // _BLOCK))
        stream = self._counter(b"".join([block.to_bytes(_BLOCK, "big") for block in blocks]))
        return (_number(data) ^ _number(stream[: len(data)])).to_bytes(len(data), "big")


@lru_cache
def _ones(count: int) -> int:
    """Return the number whose blocks, `count` of them, are each 1."""
    return sum(1 << 8 * _BLOCK * at for at in range(count))


@lru_cache
def _blocks(count: int) -> Struct:
    return Struct(f"{_BLOCK}s" * count)


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _double(block: int) -> int:
    """Multiply by x in the field of S2V (RFC 5297 section 2.3)."""
    return block << 1 & _BLOCK_MAX ^ (0x87 if block >> 127 else 0)
