"""The AEAD algorithms of NTS by number, and the lengths that their numbers imply."""

from enum import IntEnum


class Aead(IntEnum):
    """AEAD algorithms of the IANA registry that NTS implementations use."""

    AES_SIV_CMAC_256 = 15
    AES_SIV_CMAC_512 = 17
    AES_128_GCM_SIV = 30

    @property
    def label(self) -> str:
        """The IANA registry's name without its `AEAD_`, as people write it."""
        return self.name.replace("_", "-")

    @property
    def key_length(self) -> int:
        """Length of a key in bytes (RFC 5297 section 6, RFC 8452 section 6)."""
        return _KEY_LENGTH[self]

    @property
    def nonce_length(self) -> int:
        """Length of the nonces that we make, in bytes; the SIV modes would take any."""
        return 12 if self is Aead.AES_128_GCM_SIV else 16


_KEY_LENGTH = {Aead.AES_SIV_CMAC_256: 32, Aead.AES_SIV_CMAC_512: 64, Aead.AES_128_GCM_SIV: 16}
