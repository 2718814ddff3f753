"""The tags of empty plaintexts against RFC 8452's vectors, and against the library where it makes them."""

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV, AESSIV
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import WireError
from ntspool.pool import ciphers, emptytags
from ntspool.wire.aead import Aead

TAGS = {
    Aead.AES_SIV_CMAC_256: emptytags.siv_tag,
    Aead.AES_SIV_CMAC_512: emptytags.siv_tag,
    Aead.AES_128_GCM_SIV: emptytags.gcm_siv_tag,
}
aeads = st.sampled_from(Aead)
short = st.binary(max_size=80)


def own(aead, key):
    return ciphers.Emptied(ciphers.cipher_for(aead, key), key, TAGS[aead])


def test_gcm_siv_meets_rfc_8452_appendix_c1():
    tag = emptytags.gcm_siv_tag(b"\1" + bytes(15), b"\3" + bytes(11), b"")
    assert tag.hex() == "dc20e2d83f25705bb49e439eca56de25"


@pytest.mark.skipif(emptytags.are_needed(), reason="this cryptography refuses to encrypt nothing")
@given(aead=aeads, associated=short, data=st.data())
def test_they_are_the_library_s(aead, associated, data):
    key = data.draw(st.binary(min_size=aead.key_length, max_size=aead.key_length))
    nonce = data.draw(st.binary(min_size=aead.nonce_length, max_size=aead.nonce_length))
    if aead is Aead.AES_128_GCM_SIV:
        theirs = AESGCMSIV(key).encrypt(nonce, b"", associated)
    else:
        try:
            theirs = AESSIV(key).encrypt(b"", [associated, nonce])
        except UnsupportedAlgorithm:
            pytest.skip("this library has no AES-SIV")
    assert own(aead, key).seal(nonce, b"", associated) == theirs


@given(aead=aeads, plaintext=st.just(b"") | short, associated=short)
def test_open_undoes_seal_of_anything(aead, plaintext, associated):
    cipher = own(aead, bytes(range(aead.key_length)))
    nonce = bytes(aead.nonce_length)
    assert cipher.open(nonce, cipher.seal(nonce, plaintext, associated), associated) == plaintext


@given(aead=aeads, associated=short, wrong=st.integers(1, (1 << 128) - 1))
def test_any_other_tag_is_refused(aead, associated, wrong):
    cipher, nonce = own(aead, bytes(aead.key_length)), bytes(aead.nonce_length)
    tag = int.from_bytes(cipher.seal(nonce, b"", associated), "big") ^ wrong
    with pytest.raises(WireError, match="tag does not verify"):
        cipher.open(nonce, tag.to_bytes(16, "big"), associated)


@given(aead=aeads, nonce=short, ciphertext=st.binary(min_size=16, max_size=16), associated=short)
def test_open_raises_nothing_but_wire_error(aead, nonce, ciphertext, associated):
    with pytest.raises(WireError):
        own(aead, bytes(aead.key_length)).open(nonce, ciphertext, associated)
