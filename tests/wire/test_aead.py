"""ntspool/wire/aead.py against the IANA registry, RFC 5297 section 6 and RFC 8452 section 6."""

import pytest

from ntspool.wire.aead import Aead


@pytest.mark.parametrize(
    ("aead", "number", "label", "key_length", "nonce_length"),
    [
        (Aead.AES_SIV_CMAC_256, 15, "AES-SIV-CMAC-256", 32, 16),
        (Aead.AES_SIV_CMAC_512, 17, "AES-SIV-CMAC-512", 64, 16),
        (Aead.AES_128_GCM_SIV, 30, "AES-128-GCM-SIV", 16, 12),
    ],
)
def test_each_algorithm(aead, number, label, key_length, nonce_length):
    assert aead == number
    assert (aead.label, aead.key_length, aead.nonce_length) == (label, key_length, nonce_length)


def test_there_is_no_other():
    assert sorted(Aead) == [15, 17, 30]
