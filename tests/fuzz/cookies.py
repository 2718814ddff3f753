"""Cookies of every format, and the key files that daemons read."""

from ntspool.errors import WireError
from ntspool.pool import keyfiles
from ntspool.pool.ciphers import cipher_for
from ntspool.pool.cookies import CLIENT_AEADS, SERVER_AEAD, CookieFormat, CookieJar, ServerKey, key_id
from ntspool.pool.keyfiles import KeySet
from ntspool.pool.siv import ComposedSiv
from ntspool.wire.aead import Aead
from ntspool.wire.secret import Secret
from tests.fuzz.engine import Target
from tests.fuzz.packets import ASSOCIATIONS


def key_set(cookie_format):
    length = SERVER_AEAD[cookie_format].key_length
    return KeySet(
        tuple(ServerKey(n % 2**32, Secret(bytes([n % 256]) * length)) for n in range(2**32 - 2, 2**32 + 2)), 2
    )


def start_of_plaintext(cookie_format, aead):
    match cookie_format:
        case CookieFormat.CHRONY:
            return b""
        case CookieFormat.NTPSEC:
            return aead.to_bytes(4, "little")
        case CookieFormat.NTPD_RS:
            return aead.to_bytes(2, "big")
        case CookieFormat.NTSPOOL:
            return aead.to_bytes(2, "big") + bytes(2)


SIV_KEY, ASSOCIATED = bytes(range(32)), b"associated"
SIVS = [ComposedSiv(SIV_KEY), cipher_for(Aead.AES_SIV_CMAC_256, SIV_KEY)]


def check_siv(data, _):
    """What opens AES-SIV where the library has none does as the library does."""
    nonce, ciphertext = data[:16], data[16:]
    found = []
    for cipher in SIVS:
        try:
            found.append(cipher.open(nonce, ciphertext, ASSOCIATED))
        except WireError:
            found.append(None)
    assert found[0] == found[1]
    if found[0] is None:
        raise WireError("does not verify")


COOKIE = "Opens to keys of ours, or WireError; its key's id is read whatever it is."
SEALED = "What is sealed under the right key opens to an AEAD that the format can carry, or WireError."
KEY_FILE = "Gives a current key among keys that are no more than the file holds, or WireError."


def cookie_target(cookie_format):
    keys = key_set(cookie_format)
    jar = CookieJar(cookie_format, keys.keys, keys.current)
    carried = [each for each in ASSOCIATIONS if each.aead in CLIENT_AEADS[cookie_format]]
    samples = [jar.mint(each, bytes(range(16))) for each in carried]

    def check(cookie, _):
        key_id(cookie_format, cookie)
        assert jar.open(cookie) in carried

    return Target(f"cookie of {cookie_format}", COOKIE, 4_000, samples, check, lambda _: [4, 20])


def sealed_cookie_target(cookie_format):
    """Cookies under the right key that hold anything at all."""
    keys = key_set(cookie_format)
    jar = CookieJar(cookie_format, keys.keys, keys.current)
    key, nonce = jar.mint(ASSOCIATIONS[0], bytes(16))[:4], bytes(16)
    associated = {CookieFormat.NTPSEC: key + nonce, CookieFormat.NTSPOOL: key}.get(cookie_format, b"")
    cipher = cipher_for(SERVER_AEAD[cookie_format], keys.keys[keys.current].secret.reveal())
    samples = [start_of_plaintext(cookie_format, aead) + bytes(2 * aead.key_length) for aead in Aead]

    def check(plaintext, _):
        ciphertext = cipher.seal(nonce, plaintext, associated)
        length = len(ciphertext).to_bytes(2, "big") if cookie_format is CookieFormat.NTPD_RS else b""
        assert jar.open(key + length + nonce + ciphertext).aead in CLIENT_AEADS[cookie_format]

    return Target(f"sealed cookie of {cookie_format}", SEALED, 2_000, samples, check, lambda _: [0, 2])


def key_file_target(cookie_format):
    keys = key_set(cookie_format)
    samples = [keyfiles.render(cookie_format, keys, 1_800_000_000)]
    if cookie_format is CookieFormat.CHRONY:
        samples.append(keyfiles.render_chrony_nks1(keys))

    def check(data, _):
        parsed = keyfiles.parse(cookie_format, data)
        assert 0 <= parsed.current < len(parsed.keys) <= len(data) / 32

    return Target(f"key file of {cookie_format}", KEY_FILE, 4_000, samples, check, lambda _: range(0, 20, 2))


TARGETS = [
    *map(cookie_target, CookieFormat),
    *map(sealed_cookie_target, CookieFormat),
    *map(key_file_target, CookieFormat),
    Target(
        "AES-SIV ciphertext",
        "Opens to the same plaintext with the library's cipher and with ours, or WireError either way.",
        2_000,
        [bytes(16) + SIVS[0].seal(bytes(16), bytes(length), ASSOCIATED) for length in (0, 1, 16, 66)],
        check_siv,
    ),
]
