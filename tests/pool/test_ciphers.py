"""Ciphers against published vectors, and AES-SIV against RFC 5297 written down a second time."""

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import WireError
from ntspool.pool.ciphers import cipher_for
from ntspool.wire.aead import Aead

SIV = (Aead.AES_SIV_CMAC_256, Aead.AES_SIV_CMAC_512)
aeads = st.sampled_from(Aead)
short = st.binary(max_size=80)


def cmac(key, data):
    mac = CMAC(algorithms.AES(key))
    mac.update(data)
    return int.from_bytes(mac.finalize(), "big")


def double(block):
    return (block << 1) % (1 << 128) ^ (0x87 if block >> 127 else 0)


def rfc5297(key, components, plaintext):
    """AES-SIV as in RFC 5297 sections 2.4 and 2.6, for at least one component."""
    mac_key, ctr_key = key[: len(key) // 2], key[len(key) // 2 :]
    digest = cmac(mac_key, bytes(16))
    for component in components:
        digest = double(digest) ^ cmac(mac_key, component)
    if len(plaintext) >= 16:
        last = plaintext[:-16] + (int.from_bytes(plaintext[-16:], "big") ^ digest).to_bytes(16, "big")
    else:
        padded = (plaintext + b"\x80").ljust(16, b"\0")
        last = (int.from_bytes(padded, "big") ^ double(digest)).to_bytes(16, "big")
    tag = cmac(mac_key, last)
    counter = tag & ~(1 << 63 | 1 << 31)
    stream = Cipher(algorithms.AES(ctr_key), modes.CTR(counter.to_bytes(16, "big"))).encryptor()
    return tag.to_bytes(16, "big") + stream.update(plaintext)


def test_the_second_implementation_meets_rfc_5297_appendix_a2():
    assert rfc5297(
        bytes.fromhex("7f7e7d7c7b7a79787776757473727170404142434445464748494a4b4c4d4e4f"),
        [
            bytes.fromhex("00112233445566778899aabbccddeeffdeaddadadeaddadaffeeddccbbaa99887766554433221100"),
            bytes.fromhex("102030405060708090a0"),
            bytes.fromhex("09f911029d74e35bd84156c5635688c0"),
        ],
        b"this is some plaintext to encrypt using SIV-AES",
    ) == bytes.fromhex(
        "7bdb6e3b432667eb06f4d14bff2fbd0fcb900f2fddbe404326601965c889bf17"
        "dba77ceb094fa663b7a3f748ba8af829ea64ad544a272e9c485b62a3fd5c0d"
    )


@given(aead=st.sampled_from(SIV), data=st.data(), nonce=st.binary(min_size=1, max_size=40))
def test_siv_is_rfc_5297_with_the_nonce_as_the_last_component(aead, data, nonce):
    key = data.draw(st.binary(min_size=aead.key_length, max_size=aead.key_length))
    plaintext, associated = data.draw(short), data.draw(short)
    assert cipher_for(aead, key).seal(nonce, plaintext, associated) == rfc5297(key, [associated, nonce], plaintext)


@pytest.mark.parametrize(
    ("plaintext", "associated", "sealed"),
    [
        ("", "", "dc20e2d83f25705bb49e439eca56de25"),
        ("0100000000000000", "", "b5d839330ac7b786578782fff6013b815b287c22493a364c"),
        ("0200000000000000", "01", "1e6daba35669f4273b0a1a2560969cdf790d99759abd1508"),
    ],
)
def test_gcm_siv_meets_rfc_8452_appendix_c1(plaintext, associated, sealed):
    cipher = cipher_for(Aead.AES_128_GCM_SIV, b"\1" + bytes(15))
    nonce = b"\3" + bytes(11)
    assert cipher.seal(nonce, bytes.fromhex(plaintext), bytes.fromhex(associated)).hex() == sealed


@given(aead=aeads, plaintext=short, associated=short)
def test_open_undoes_seal(aead, plaintext, associated):
    cipher = cipher_for(aead, bytes(range(aead.key_length)))
    nonce = bytes(aead.nonce_length)
    assert cipher.open(nonce, cipher.seal(nonce, plaintext, associated), associated) == plaintext


@given(aead=aeads, plaintext=short, associated=st.binary(min_size=1, max_size=20), data=st.data())
def test_any_alteration_is_refused(aead, plaintext, associated, data):
    cipher = cipher_for(aead, bytes(aead.key_length))
    parts = [bytes(aead.nonce_length), b"", associated]
    parts[1] = cipher.seal(parts[0], plaintext, associated)
    which = data.draw(st.integers(0, 2))
    at = data.draw(st.integers(0, len(parts[which]) - 1))
    altered = bytearray(parts[which])
    altered[at] ^= data.draw(st.integers(1, 255))
    parts[which] = bytes(altered)
    with pytest.raises(WireError, match="tag does not verify"):
        cipher.open(*parts)


@pytest.mark.parametrize("aead", Aead)
def test_another_key_is_refused(aead):
    nonce = bytes(aead.nonce_length)
    sealed = cipher_for(aead, bytes(aead.key_length)).seal(nonce, b"plaintext", b"")
    with pytest.raises(WireError):
        cipher_for(aead, b"\1" * aead.key_length).open(nonce, sealed, b"")


@given(aead=aeads, nonce=short, ciphertext=short, associated=short)
def test_open_raises_nothing_but_wire_error(aead, nonce, ciphertext, associated):
    with pytest.raises(WireError):
        cipher_for(aead, bytes(aead.key_length)).open(nonce, ciphertext, associated)


@pytest.mark.parametrize("aead", Aead)
@pytest.mark.parametrize("wrong_by", [-16, -1, 1, 32])
def test_a_key_of_another_length_is_our_own_bug(aead, wrong_by):
    length = aead.key_length + wrong_by
    with pytest.raises(ValueError, match=f"{aead.key_length} bytes of key, not {length}"):
        cipher_for(aead, bytes(length))
