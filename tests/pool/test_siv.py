"""AES-SIV out of AES blocks against the library's, and many messages at once against one by one."""

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import WireError
from ntspool.pool.ciphers import cipher_for
from ntspool.pool.siv import ComposedSiv
from ntspool.wire.aead import Aead

keys = st.binary(min_size=32, max_size=32) | st.binary(min_size=64, max_size=64)
# Around two blocks, where other ways are taken, and as long as cookies.
plaintexts = st.binary(min_size=1, max_size=50) | st.binary(min_size=60, max_size=140)
# A block is what a cookie's nonce is; others are one by one.
nonces = st.binary(min_size=16, max_size=16) | st.binary(min_size=1, max_size=40)
associated_data = st.binary(max_size=40)


def library_s(key):
    try:
        return AESSIV(key)
    except UnsupportedAlgorithm:
        pytest.skip("this library has no AES-SIV")


@st.composite
def messages(draw):
    """Draw nonces and associated data: all of cookies' kinds, and any other."""
    count = draw(st.integers(0, 8))
    length = draw(st.sampled_from([0, 4, 16, 20, 32, 40]))
    each = draw(st.sampled_from([st.binary(min_size=16, max_size=16), nonces]))
    same = st.binary(min_size=length, max_size=length)
    more = draw(st.sampled_from([st.just(draw(same)), same, associated_data]))
    return [draw(st.lists(kind, min_size=count, max_size=count)) for kind in (each, more)]


@given(key=keys, drawn=messages(), plaintext=plaintexts)
def test_it_is_the_library_s(key, drawn, plaintext):
    pairs = list(zip(*drawn, strict=True))
    theirs = [library_s(key).encrypt(plaintext, [associated, nonce]) for nonce, associated in pairs]
    composed = ComposedSiv(key)
    assert [composed.seal(nonce, plaintext, associated) for nonce, associated in pairs] == theirs
    assert composed.seal_each(drawn[0], plaintext, drawn[1]) == theirs


@given(key=keys, plaintext=st.binary(min_size=32, max_size=140), start=st.binary(min_size=8, max_size=8))
def test_a_tag_of_ones_counts_as_ctr_does(key, plaintext, start):
    # The counter is the tag but for two bits: where all others are ones, hardly any random test would come by.
    class OfOnes(ComposedSiv):
        def _tags(self, *_):
            return int.from_bytes(2 * (start + b"\xff" * 8), "big")

    counter = start[:8] + b"\x7f\xff\xff\xff" * 2
    stream = Cipher(AES(key[len(key) // 2 :]), CTR(counter)).encryptor()
    sealed = OfOnes(key).seal_each([bytes(16)] * 2, plaintext, [b""] * 2)
    assert sealed == [start + b"\xff" * 8 + stream.update(plaintext)] * 2


@given(drawn=messages(), plaintext=plaintexts | st.just(b""))
@pytest.mark.parametrize("aead", [Aead.AES_SIV_CMAC_256, Aead.AES_SIV_CMAC_512, Aead.AES_128_GCM_SIV])
def test_each_is_sealed_as_if_alone(aead, drawn, plaintext):
    cipher, (each, associated) = cipher_for(aead, bytes(range(aead.key_length))), drawn
    if aead is Aead.AES_128_GCM_SIV:
        each = [nonce.ljust(12, b"\0")[:12] for nonce in each]
    alone = [cipher.seal(nonce, plaintext, more) for nonce, more in zip(each, associated, strict=True)]
    assert cipher.seal_each(each, plaintext, associated) == alone


@given(key=keys, nonce=nonces, plaintext=plaintexts | st.just(b""), associated=associated_data, data=st.data())
def test_open_undoes_seal_and_nothing_else(key, nonce, plaintext, associated, data):
    composed = ComposedSiv(key)
    sealed = composed.seal(nonce, plaintext, associated)
    assert composed.open(nonce, sealed, associated) == plaintext
    altered = bytearray(sealed)
    altered[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(WireError, match="tag does not verify"):
        composed.open(nonce, bytes(altered), associated)


@given(short=st.binary(max_size=15))
def test_what_is_shorter_than_a_tag_is_refused(short):
    with pytest.raises(WireError):
        ComposedSiv(bytes(32)).open(bytes(16), short, b"")
