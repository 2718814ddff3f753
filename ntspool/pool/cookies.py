"""Cookies: mint and open, one function pair per daemon format.

A cookie holds its client's AEAD and keys, encrypted under a key that only the server and the gateway know
(RFC 8915 section 6). What is minted here, stock daemons open; what they return to their clients opens here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from ntspool.errors import WireError
from ntspool.pool.ciphers import TAG_LENGTH, Cipher, cipher_for
from ntspool.wire.aead import Aead
from ntspool.wire.reader import Reader
from ntspool.wire.secret import Secret

NONCE_LENGTH: Final = 16
"""Length in bytes of the nonce that a cookie is minted with, in every format."""


class CookieFormat(StrEnum):
    """Whose cookies a backend opens; the values of `cookies:` in backends.yaml."""

    CHRONY = "chrony"
    NTPSEC = "ntpsec"
    NTPD_RS = "ntpd-rs"
    NTSPOOL = "ntspool"


SERVER_AEAD: Final[Mapping[CookieFormat, Aead]] = {
    CookieFormat.CHRONY: Aead.AES_SIV_CMAC_256,
    CookieFormat.NTPSEC: Aead.AES_SIV_CMAC_256,
    CookieFormat.NTPD_RS: Aead.AES_SIV_CMAC_512,
    CookieFormat.NTSPOOL: Aead.AES_SIV_CMAC_256,
}
"""The AEAD that encrypts a format's cookies, and so the length of its server keys."""

CLIENT_AEADS: Final[Mapping[CookieFormat, tuple[Aead, ...]]] = {
    CookieFormat.CHRONY: (Aead.AES_SIV_CMAC_256, Aead.AES_128_GCM_SIV),
    CookieFormat.NTPSEC: (Aead.AES_SIV_CMAC_256, Aead.AES_SIV_CMAC_512),
    CookieFormat.NTPD_RS: (Aead.AES_SIV_CMAC_256, Aead.AES_SIV_CMAC_512),
    CookieFormat.NTSPOOL: (Aead.AES_SIV_CMAC_256, Aead.AES_SIV_CMAC_512, Aead.AES_128_GCM_SIV),
}
"""The AEADs of associations that a format can carry; a given daemon may serve fewer (chrony before 4.4: no 30)."""


@dataclass(frozen=True, slots=True)
class Association:
    """What a cookie carries for its client: the negotiated AEAD and the two keys (RFC 8915 section 5.1).

    Raises ValueError unless both keys have `aead.key_length` bytes.
    """

    aead: Aead
    c2s: Secret
    s2c: Secret

    def __post_init__(self) -> None:
        if not len(self.c2s) == len(self.s2c) == self.aead.key_length:
            raise ValueError(f"{self.aead.name} takes two keys of {self.aead.key_length} bytes")


@dataclass(frozen=True, slots=True)
class ServerKey:
    """One key that cookies are encrypted under; `id` is an unsigned 32-bit integer, else ValueError."""

    id: int
    secret: Secret

    def __post_init__(self) -> None:
        if not 0 <= self.id < 1 << 32:
            raise ValueError(f"key id {self.id} does not fit into 32 bits")


class CookieKey:
    """Mints and opens the cookies of one format under one server key.

    Make it once and keep it: making the cipher costs more than minting a cookie. Raises ValueError unless the
    secret has the length of the format's SERVER_AEAD, which a key file that somebody else wrote may not have.
    """

    __slots__ = ("_cipher", "_client_aeads", "_id", "_mint", "_open")

    def __init__(self, cookie_format: CookieFormat, key: ServerKey) -> None:
        self._id = key.id.to_bytes(4, _id_byte_order(cookie_format))
        self._cipher = cipher_for(SERVER_AEAD[cookie_format], key.secret.reveal())
        self._client_aeads = CLIENT_AEADS[cookie_format]
        self._mint, self._open = _PAIRS[cookie_format]

    def mint(self, association: Association, nonce: bytes) -> bytes:
        """Return a cookie; `nonce` is NONCE_LENGTH random bytes, new ones for every cookie.

        Raises ValueError for another length, and for an AEAD that is not among the format's CLIENT_AEADS.
        """
        if len(nonce) != NONCE_LENGTH:
            raise ValueError(f"a cookie's nonce has {NONCE_LENGTH} bytes, not {len(nonce)}")
        return self.mint_all(association, nonce)[0]

    def mint_all(self, association: Association, nonces: bytes) -> tuple[bytes, ...]:
        """Return a cookie for each NONCE_LENGTH bytes of `nonces`; see `mint`."""
        if association.aead not in self._client_aeads:
            raise ValueError(f"this cookie format cannot carry {association.aead.name}")
        starts = range(0, len(nonces), NONCE_LENGTH)
        return self._mint(self._cipher, self._id, [nonces[at : at + NONCE_LENGTH] for at in starts], association)

    def open(self, cookie: bytes) -> Association:
        """Return what `cookie` carries; raises WireError unless it was minted in this format under this key."""
        if cookie[:4] != self._id:
            raise WireError("the cookie names another key")
        association = self._open(self._cipher, cookie)
        if association.aead not in self._client_aeads:
            raise WireError(f"the cookie carries {association.aead.name}, which its format cannot")
        return association


class CookieJar:
    """The keys of one server: opens cookies under any of them and mints under the current one.

    `current` is an index into `keys`. Raises ValueError when it is none, when two keys share an id, and as
    CookieKey does.
    """

    __slots__ = ("_current", "_format", "_keys")

    def __init__(self, cookie_format: CookieFormat, keys: Sequence[ServerKey], current: int) -> None:
        if not 0 <= current < len(keys):
            raise ValueError(f"there is no key {current} among {len(keys)}")
        self._format = cookie_format
        self._keys = {key.id: CookieKey(cookie_format, key) for key in keys}
        if len(self._keys) < len(keys):
            raise ValueError("two keys share an id")
        self._current = self._keys[keys[current].id]

    def mint(self, association: Association, nonce: bytes) -> bytes:
        """Return a cookie under the current key; see CookieKey.mint."""
        return self._current.mint(association, nonce)

    def open(self, cookie: bytes) -> Association:
        """Return what `cookie` carries; raises WireError unless one of the keys opens it."""
        key = self._keys.get(key_id(self._format, cookie))
        if key is None:
            raise WireError("the cookie names an unknown key")
        return key.open(cookie)


def cookie_length(cookie_format: CookieFormat, aead: Aead) -> int:
    """Return the bytes of a cookie for an association of `aead`."""
    key = CookieKey(cookie_format, ServerKey(0, Secret(bytes(SERVER_AEAD[cookie_format].key_length))))
    keys = Secret(bytes(aead.key_length))
    return len(key.mint(Association(aead, keys, keys), bytes(NONCE_LENGTH)))


def key_id(cookie_format: CookieFormat, cookie: bytes) -> int:
    """Return the id of the key that `cookie` says it is encrypted under; raises WireError when it is too short."""
    return int.from_bytes(Reader(cookie).take(4), _id_byte_order(cookie_format))


def _id_byte_order(cookie_format: CookieFormat) -> Literal["big", "little"]:
    # NTPsec copies integers out of memory as they are: little endian on every machine that we expect it on.
    return "little" if cookie_format is CookieFormat.NTPSEC else "big"


def _aead(number: int) -> Aead:
    try:
        return Aead(number)
    except ValueError as error:
        raise WireError(f"the cookie carries the unknown AEAD {number}") from error


def _halves(keys: bytes, aead: Aead) -> tuple[Secret, Secret]:
    length = aead.key_length
    if len(keys) != 2 * length:
        raise WireError(f"the cookie carries {len(keys)} bytes of keys for {aead.name}")
    return Secret(keys[:length]), Secret(keys[length:])


def _mint_chrony(cipher: Cipher, key: bytes, nonces: Sequence[bytes], association: Association) -> tuple[bytes, ...]:
    plaintext = association.c2s.reveal() + association.s2c.reveal()
    sealed = cipher.seal_each(nonces, plaintext, [b""] * len(nonces))
    return tuple([key + nonce + each for nonce, each in zip(nonces, sealed, strict=True)])


def _open_chrony(cipher: Cipher, cookie: bytes) -> Association:
    keys = cipher.open(cookie[4:20], cookie[20:], b"")
    # Nothing in the cookie names the AEAD; chronyd, too, infers it from the length of the keys.
    aead = Aead.AES_128_GCM_SIV if len(keys) == 32 else Aead.AES_SIV_CMAC_256
    return Association(aead, *_halves(keys, aead))


def _mint_ntpsec(cipher: Cipher, key: bytes, nonces: Sequence[bytes], association: Association) -> tuple[bytes, ...]:
    plaintext = association.aead.to_bytes(4, "little") + association.c2s.reveal() + association.s2c.reveal()
    heads = [key + nonce for nonce in nonces]
    sealed = cipher.seal_each(nonces, plaintext, heads)
    return tuple([head + each for head, each in zip(heads, sealed, strict=True)])


def _open_ntpsec(cipher: Cipher, cookie: bytes) -> Association:
    plaintext = cipher.open(cookie[4:20], cookie[20:], cookie[:20])
    aead = _aead(int.from_bytes(plaintext[:4], "little"))
    return Association(aead, *_halves(plaintext[4:], aead))


def _mint_ntpd_rs(cipher: Cipher, key: bytes, nonces: Sequence[bytes], association: Association) -> tuple[bytes, ...]:
    plaintext = association.aead.to_bytes(2, "big") + association.s2c.reveal() + association.c2s.reveal()
    sealed = cipher.seal_each(nonces, plaintext, [b""] * len(nonces))
    head = key + (len(plaintext) + TAG_LENGTH).to_bytes(2, "big")
    return tuple([head + nonce + each for nonce, each in zip(nonces, sealed, strict=True)])


def _open_ntpd_rs(cipher: Cipher, cookie: bytes) -> Association:
    reader = Reader(cookie[4:])
    length = reader.u16()
    # What follows the ciphertext is padding; ntpd-rs ignores it and does not authenticate it.
    plaintext = cipher.open(reader.take(NONCE_LENGTH), reader.take(length), b"")
    aead = _aead(int.from_bytes(plaintext[:2], "big"))
    s2c, c2s = _halves(plaintext[2:], aead)
    return Association(aead, c2s, s2c)


def _mint_ntspool(cipher: Cipher, key: bytes, nonces: Sequence[bytes], association: Association) -> tuple[bytes, ...]:
    plaintext = association.aead.to_bytes(2, "big") + bytes(2) + association.s2c.reveal() + association.c2s.reveal()
    sealed = cipher.seal_each(nonces, plaintext, [key] * len(nonces))
    return tuple([key + nonce + each for nonce, each in zip(nonces, sealed, strict=True)])


def _open_ntspool(cipher: Cipher, cookie: bytes) -> Association:
    plaintext = cipher.open(cookie[4:20], cookie[20:], cookie[:4])
    if plaintext[2:4] != bytes(2):
        raise WireError("the cookie's padding is not zero")
    aead = _aead(int.from_bytes(plaintext[:2], "big"))
    s2c, c2s = _halves(plaintext[4:], aead)
    return Association(aead, c2s, s2c)


_Mint = Callable[[Cipher, bytes, Sequence[bytes], Association], tuple[bytes, ...]]
_Open = Callable[[Cipher, bytes], Association]

_PAIRS: Final[Mapping[CookieFormat, tuple[_Mint, _Open]]] = {
    CookieFormat.CHRONY: (_mint_chrony, _open_chrony),
    CookieFormat.NTPSEC: (_mint_ntpsec, _open_ntpsec),
    CookieFormat.NTPD_RS: (_mint_ntpd_rs, _open_ntpd_rs),
    CookieFormat.NTSPOOL: (_mint_ntspool, _open_ntspool),
}
