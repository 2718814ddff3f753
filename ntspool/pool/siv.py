"""AES-SIV-CMAC (RFC 5297) out of AES blocks, for a library that has none: AWS-LC.

One message costs four times what OpenSSL takes for it. The eight cookies of a session, though, differ by their
nonces only: what they share is computed once and the rest side by side, in a handful of calls of AES.
"""

from collections.abc import Sequence
from hmac import compare_digest

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

    __slots__ = ("_counter", "_last", "_last_padded", "_mac", "_zero")

    def __init__(self, key: bytes) -> None:
        half = len(key) // 2
        # Block by block is what this mode is; what stands around the blocks makes them CMAC and a stream.
        self._mac = Cipher(AES(key[:half]), ECB()).encryptor().update  # noqa: S305
        self._counter = Cipher(AES(key[half:]), ECB()).encryptor().update  # noqa: S305
        self._last = _double(_number(self._mac(bytes(_BLOCK))))
        self._last_padded = _double(self._last)
        self._zero = _double(self._cmac(bytes(_BLOCK)))

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

    def seal_each(self, nonces: Sequence[bytes], plaintext: bytes, associated: bytes) -> list[bytes]:
        """See ciphers.Cipher.seal_each."""
        if len(plaintext) < 2 * _BLOCK or any(len(nonce) != _BLOCK for nonce in nonces):
            return [self.seal(nonce, plaintext, associated) for nonce in nonces]
        count, length = len(nonces), len(plaintext)
        tags = self._tags(nonces, plaintext, _double(self._zero ^ self._cmac(associated)))
        first = (_number(tags) & _number(_COUNTER.to_bytes(_BLOCK, "big") * count)).to_bytes(_BLOCK * count, "big")
        blocks = -(-length // _BLOCK)
        counters = b"".join(
            [
                first[at : at + 12] + (_number(first[at + 12 : at + _BLOCK]) + block).to_bytes(4, "big")
                for at in range(0, _BLOCK * count, _BLOCK)
                for block in range(blocks)
            ]
        )
        padded = plaintext.ljust(_BLOCK * blocks, b"\0") * count
        sealed = (_number(self._counter(counters)) ^ _number(padded)).to_bytes(len(padded), "big")
        return [
            tags[_BLOCK * at : _BLOCK * (at + 1)] + sealed[_BLOCK * blocks * at : _BLOCK * blocks * at + length]
            for at in range(count)
        ]

    def _tags(self, nonces: Sequence[bytes], plaintext: bytes, digest: int) -> bytes:
        """Return the tags of a plaintext of two blocks or more, one after the other.

        `digest` is S2V's of what comes before the nonce, doubled. With the nonce's it is added to the plaintext's last
        16 bytes, so that all before these is the same in every tag.
        """
        mac, count = self._mac, len(nonces)
        size = _BLOCK * count
        last = self._last.to_bytes(_BLOCK, "big") * count
        of_nonces = _number(mac((_number(b"".join(nonces)) ^ _number(last)).to_bytes(size, "big")))
        digests = (of_nonces ^ _number(digest.to_bytes(_BLOCK, "big") * count)).to_bytes(size, "big")
        beyond = len(plaintext) % _BLOCK
        shared = len(plaintext) - _BLOCK - beyond
        state = self._chain(plaintext[:shared])
        if not beyond:
            same = state ^ _number(plaintext[shared:]) ^ self._last
            return mac((_number(digests) ^ _number(same.to_bytes(_BLOCK, "big") * count)).to_bytes(size, "big"))
        # The 16 bytes lie across two blocks, of which CMAC pads the second.
        shift = 8 * (_BLOCK - beyond)
        same = _number((plaintext[shared:] + b"\x80").ljust(2 * _BLOCK, b"\0")) ^ state << 128 ^ self._last_padded
        pairs = [_number(digests[at : at + _BLOCK]) << shift ^ same for at in range(0, size, _BLOCK)]
        before = mac(b"".join([(pair >> 128).to_bytes(_BLOCK, "big") for pair in pairs]))
        ends = b"".join([(pair & _BLOCK_MAX).to_bytes(_BLOCK, "big") for pair in pairs])
        return mac((_number(before) ^ _number(ends)).to_bytes(size, "big"))

    def _tag(self, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
        """S2V of three components (RFC 5297 section 2.4)."""
        digest = _double(self._zero ^ self._cmac(associated)) ^ self._cmac(nonce)
        if len(plaintext) >= _BLOCK:
            head, end = plaintext[:-_BLOCK], _number(plaintext[-_BLOCK:]) ^ digest
            return self._cmac(head + end.to_bytes(_BLOCK, "big")).to_bytes(_BLOCK, "big")
        padded = _number((plaintext + b"\x80").ljust(_BLOCK, b"\0"))
        return self._cmac((_double(digest) ^ padded).to_bytes(_BLOCK, "big")).to_bytes(_BLOCK, "big")

    def _cmac(self, data: bytes) -> int:
        """CMAC (RFC 4493 section 2.4)."""
        end = max(0, (len(data) - 1) // _BLOCK * _BLOCK)
        if len(data) - end == _BLOCK:
            last = _number(data[end:]) ^ self._last
        else:
            last = _number((data[end:] + b"\x80").ljust(_BLOCK, b"\0")) ^ self._last_padded
        return _number(self._mac((self._chain(data[:end]) ^ last).to_bytes(_BLOCK, "big")))

    def _chain(self, blocks: bytes) -> int:
        state = 0
        for at in range(0, len(blocks), _BLOCK):
            state ^= _number(blocks[at : at + _BLOCK])
            state = _number(self._mac(state.to_bytes(_BLOCK, "big")))
        return state

    def _xor_stream(self, tag: bytes, data: bytes) -> bytes:
        first = _number(tag) & _COUNTER
        blocks = range(first, first + -(-len(data) // _BLOCK))
        stream = self._counter(b"".join([block.to_bytes(_BLOCK, "big") for block in blocks]))
        return (_number(data) ^ _number(stream[: len(data)])).to_bytes(len(data), "big")


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _double(block: int) -> int:
    """Multiply by x in the field of S2V (RFC 5297 section 2.3)."""
    return block << 1 & _BLOCK_MAX ^ (0x87 if block >> 127 else 0)
