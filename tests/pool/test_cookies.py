"""Cookies: golden bytes of real daemons, round trips, and refusals."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import WireError
from ntspool.pool.ciphers import cipher_for
from ntspool.pool.cookies import (
    CLIENT_AEADS,
    NONCE_LENGTH,
    SERVER_AEAD,
    Association,
    CookieFormat,
    CookieJar,
    CookieKey,
    ServerKey,
    key_id,
)
from ntspool.wire.aead import Aead
from ntspool.wire.secret import Secret

CHRONY, NTPSEC = CookieFormat.CHRONY, CookieFormat.NTPSEC
NTPD_RS, NTSPOOL = CookieFormat.NTPD_RS, CookieFormat.NTSPOOL
CARRIED = [(cookie_format, aead) for cookie_format in CookieFormat for aead in CLIENT_AEADS[cookie_format]]
NOT_CARRIED = [(each, aead) for each in CookieFormat for aead in Aead if aead not in CLIENT_AEADS[each]]
NONCE = bytes(NONCE_LENGTH)

formats = st.sampled_from(CookieFormat)
nonces = st.binary(min_size=NONCE_LENGTH, max_size=NONCE_LENGTH)


def association_of(aead):
    return Association(aead, Secret(bytes(range(aead.key_length))), Secret(bytes(range(128, 128 + aead.key_length))))


def server_key(cookie_format, identifier=0x01020302, first=128):
    length = SERVER_AEAD[cookie_format].key_length
    return ServerKey(identifier, Secret(bytes(range(first, first + length))))


def sealed(cookie_format, plaintext):
    """A cookie of `cookie_format` that verifies, whatever it carries."""
    key = server_key(cookie_format)
    cipher = cipher_for(SERVER_AEAD[cookie_format], key.secret.reveal())
    head = key.id.to_bytes(4, "little" if cookie_format is NTPSEC else "big")
    associated = {CHRONY: b"", NTPSEC: head + NONCE, NTPD_RS: b"", NTSPOOL: head}[cookie_format]
    ciphertext = cipher.seal(NONCE, plaintext, associated)
    length = len(ciphertext).to_bytes(2, "big") if cookie_format is NTPD_RS else b""
    return head + length + NONCE + ciphertext


@st.composite
def minted(draw):
    cookie_format, aead = draw(st.sampled_from(CARRIED))
    length = SERVER_AEAD[cookie_format].key_length
    server = ServerKey(draw(st.integers(0, 0xFFFFFFFF)), Secret(draw(st.binary(min_size=length, max_size=length))))
    keys = st.binary(min_size=aead.key_length, max_size=aead.key_length)
    association = Association(aead, Secret(draw(keys)), Secret(draw(keys)))
    return cookie_format, server, association, CookieKey(cookie_format, server).mint(association, draw(nonces))


# Minted by the daemon itself under `server_key` for `association_of`; ours by `rfc5297` of test_ciphers.
@pytest.mark.parametrize(
    ("cookie_format", "aead", "cookie"),
    [
        pytest.param(
            CHRONY,
            15,
            "01020302695d76ce12e21e14b2f0e55459b8a5dbe7fb3a697a0a37ad550024b8e370245cd0f186c9d9aff39548a22f49"
            "6140dabb0ac2405e6baaa949646e0df0c1f0af9f65059189976765e7ac4777f111b48414f1344ab6c982009e869126f3"
            "b198cd2e",
            id="chronyd-4.3-15",
        ),
        pytest.param(
            CHRONY,
            15,
            "01020302059a5b3fd9ab125123ff14108ed8aa78ff6dac1883fb0070558360a878171d0c9aaae5f3e26514a0c9571311"
            "9180dddc920b2d719a5f2a9c27be0a842da050e70180a871b04f7ca7049d54e2e67d5ce9682de020feadfd12646290"
            "551a91c539",
            id="chronyd-4.9-15",
        ),
        pytest.param(
            CHRONY,
            30,
            "01020302e287e1608a01b69c9c38b3b074148680214e3a87d083cdcdd090621f9eb4eccc2ab67284cde5e96192efc4c1"
            "ccc26b9005ef4fd9b040e288d3a98635b7156232",
            id="chronyd-4.9-30",
        ),
        pytest.param(
            NTPSEC,
            15,
            "020302015ce70ae649a280f34ef5d0d9e75d004660fb9c106fad17589c2c53eb5f6f7695a19c5b0ca7325a1f762bfd47"
            "2936f325e77f91bb4514ae37b030ddf00e1c9ee503d3cbbbe29a4c0cebfc3400487872e8eaf1b3dba3c71531c2b5bc8b"
            "8574929c0f1d8bc6",
            id="ntpsec-1.2.2-15",
        ),
        pytest.param(
            NTPSEC,
            17,
            "02030201cad689cc1d1f9cec84a379124a7b20095c4af62f2b982cea64451adf3b78d7c9e2bd2e99461940e76a9ef116"
            "89533850c240bcb57ec5c7b6310ad0939c40d15b369d01852ca2bc191bb7f720d617409dea98d876226820b8c0e04750"
            "b5588c87ff186c25e5208d5b0e5500c3dccaa4f04098931c534d77a5adce576ad30a46526ec309ae5c0876c62912803a"
            "96a0225ccb62789f794cd43d393944b76929e0c2bd2de83e",
            id="ntpsec-1.2.2-17",
        ),
        pytest.param(
            NTPD_RS,
            15,
            "010203020052dea4a6d1183dd4d28fa2b6ac0fc6848ae9c882fc3254b80b957aebf62571fc0a88341a4d1b2f9386f894"
            "16ff19524e8e6a90b671d476c6fcd950af8b2bad3d04b749c7ad528ba0fe24ad846324d0720e4024976009fadebd8e0a"
            "e6ef7c2bf8b93df2",
            id="ntpd-rs-1.9.0-15",
        ),
        pytest.param(
            NTPD_RS,
            17,
            "010203020092bf270cf5501805f0f46000f2ed6290016f9d511e35ee8ae0ee2840ada1ea315c694e9b0aed5b0f6e98c1"
            "8974d9ae29e514eb78c34bee94a6c2f6a2dac568679b0bc3408419b8f05430b9e46f2ffc71e482088b58c97d37df3956"
            "147f59414fbf0d7bafcbdb4698a7b6a90b056ccf1363901e405f8b1885a7bdf2f13d1e595353149da1377cf5470ff12f"
            "1ef59b95bd714b6cd87ba4e24f924f26bbcfefdf66a917de",
            id="ntpd-rs-1.9.0-17",
        ),
        pytest.param(
            NTSPOOL,
            15,
            "01020302000102030405060708090a0b0c0d0e0fbd85a9f290472975ebb6a3c4aee77c4098d4781777f4c870258e62db"
            "4a36ee31654f11eb2849e58bc470ff405bbd921f00be447c0920ee0d744f3b8ff462f0f061616d0d966dfc3911a77f05"
            "500c64797200e866",
            id="ntspool-15",
        ),
        pytest.param(
            NTSPOOL,
            17,
            "01020302000102030405060708090a0b0c0d0e0f9e7b6552a6e793cd45eb428795da3a9be6a456a5d496b991ff83f383"
            "69c90ba6b8049bdb69d115f6ed25ddc1e8f1c050fad50539d496e19074c4142e8af5b230c9f9420ee94a6479ffd46e90"
            "202a0efdcab8390e53e95239d51820f75e74508cecc1b74159f95d722973010a6f49cae8d81ec6ea085b1941e01405b7"
            "83a16c5993777a8b0ecfb9f0015b967d3058adcc28b7b1dc",
            id="ntspool-17",
        ),
        pytest.param(
            NTSPOOL,
            30,
            "01020302000102030405060708090a0b0c0d0e0fc68026032c202e5ef96622b4f402a80d73aa9a468c6c159cf248370a"
            "c95556ffd13ab28e95d3680437d39c265ba373b548d7afc0",
            id="ntspool-30",
        ),
    ],
)
def test_golden_bytes(cookie_format, aead, cookie):
    cookie = bytes.fromhex(cookie)
    key = CookieKey(cookie_format, server_key(cookie_format))
    nonce = cookie[6:22] if cookie_format is NTPD_RS else cookie[4:20]
    assert key.open(cookie) == association_of(Aead(aead))
    assert key.mint(association_of(Aead(aead)), nonce) == cookie
    assert key_id(cookie_format, cookie) == 0x01020302


@given(minted())
def test_open_undoes_mint(case):
    cookie_format, server, association, cookie = case
    assert CookieKey(cookie_format, server).open(cookie) == association
    assert key_id(cookie_format, cookie) == server.id
    # chrony's clients refuse cookies of any other length.
    assert len(cookie) % 4 == 0


@given(minted(), st.data())
def test_any_altered_byte_is_refused(case, data):
    cookie_format, server, _, cookie = case
    altered = bytearray(cookie)
    altered[data.draw(st.integers(0, len(cookie) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(WireError):
        CookieKey(cookie_format, server).open(bytes(altered))


@given(minted(), st.data())
def test_a_cut_cookie_is_refused(case, data):
    cookie_format, server, _, cookie = case
    with pytest.raises(WireError):
        CookieKey(cookie_format, server).open(cookie[: data.draw(st.integers(0, len(cookie) - 1))])


@given(minted(), st.binary(min_size=1, max_size=40))
def test_what_follows_a_cookie_is_refused_except_by_ntpd_rs(case, rest):
    cookie_format, server, association, cookie = case
    if cookie_format is NTPD_RS:
        assert CookieKey(cookie_format, server).open(cookie + rest) == association
    else:
        with pytest.raises(WireError):
            CookieKey(cookie_format, server).open(cookie + rest)


@pytest.mark.parametrize(("cookie_format", "other"), [*permutations([CHRONY, NTPSEC, NTSPOOL], 2)])
def test_a_cookie_of_another_format_is_refused_even_under_the_same_key(cookie_format, other):
    secret = bytes(range(32))
    cookie = CookieKey(cookie_format, ServerKey(1, Secret(secret))).mint(association_of(Aead.AES_SIV_CMAC_256), NONCE)
    with pytest.raises(WireError, match="tag"):
        CookieKey(other, ServerKey(key_id(other, cookie), Secret(secret))).open(cookie)


@given(formats, st.binary(max_size=200), st.booleans())
def test_garbage_raises_nothing_but_wire_error(cookie_format, data, starts_right):
    if starts_right:
        data = sealed(cookie_format, b"")[:4] + data
    key = server_key(cookie_format)
    with pytest.raises(WireError):
        CookieKey(cookie_format, key).open(data)
    with pytest.raises(WireError):
        CookieJar(cookie_format, [key], 0).open(data)


@given(formats, st.binary(max_size=140), st.sampled_from([b"", b"\0\x0f", b"\0\x0f\0\0", b"\x0f\0\0\0", b"\0\x11\0\0"]))
def test_a_verified_cookie_with_odd_contents_raises_nothing_but_wire_error(cookie_format, keys, head):
    key = CookieKey(cookie_format, server_key(cookie_format))
    try:
        association = key.open(sealed(cookie_format, head + keys))
    except WireError:
        return
    assert association.aead in CLIENT_AEADS[cookie_format]


@pytest.mark.parametrize(
    ("cookie_format", "plaintext", "reason"),
    [
        (CHRONY, bytes(128), "128 bytes of keys for AES_SIV_CMAC_256"),
        (CHRONY, b"", "0 bytes of keys"),
        (NTPSEC, b"\x0f\0\0\0" + bytes(32), "32 bytes of keys for AES_SIV_CMAC_256"),
        (NTPSEC, b"\x10\0\0\0" + bytes(96), "unknown AEAD 16"),
        (NTPSEC, b"\0\0\0\x0f" + bytes(64), "unknown AEAD"),
        (NTPSEC, b"\x1e\0\0\0" + bytes(32), "AES_128_GCM_SIV, which its format cannot"),
        (NTPSEC, b"", "unknown AEAD 0"),
        (NTPD_RS, b"\0\x0f" + bytes(65), "65 bytes of keys"),
        (NTPD_RS, b"\0\x10" + bytes(96), "unknown AEAD 16"),
        (NTPD_RS, b"\0\x1e" + bytes(32), "AES_128_GCM_SIV, which its format cannot"),
        (NTSPOOL, b"\0\x0f\0\0" + bytes(63), "63 bytes of keys"),
        (NTSPOOL, b"\0\x0f\0\1" + bytes(64), "padding is not zero"),
        (NTSPOOL, b"\0\x0e\0\0" + bytes(64), "unknown AEAD 14"),
        (NTSPOOL, b"\0\x0f", "padding is not zero"),
    ],
)
def test_a_verified_cookie_must_carry_keys_of_an_aead_of_its_format(cookie_format, plaintext, reason):
    with pytest.raises(WireError, match=reason):
        CookieKey(cookie_format, server_key(cookie_format)).open(sealed(cookie_format, plaintext))


@pytest.mark.parametrize(("cookie_format", "aead"), NOT_CARRIED)
def test_minting_an_aead_that_the_format_cannot_carry_is_our_own_bug(cookie_format, aead):
    with pytest.raises(ValueError, match=f"cannot carry {aead.name}"):
        CookieKey(cookie_format, server_key(cookie_format)).mint(association_of(aead), NONCE)


@pytest.mark.parametrize("cookie_format", CookieFormat)
@pytest.mark.parametrize("length", [0, 12, 15, 17])
def test_a_nonce_of_another_length_is_our_own_bug(cookie_format, length):
    key = CookieKey(cookie_format, server_key(cookie_format))
    with pytest.raises(ValueError, match=f"not {length}"):
        key.mint(association_of(Aead.AES_SIV_CMAC_256), bytes(length))


@pytest.mark.parametrize("cookie_format", CookieFormat)
@pytest.mark.parametrize("length", [0, 16, 33, 48, 128])
def test_a_server_key_of_another_length_makes_no_cookie_key(cookie_format, length):
    with pytest.raises(ValueError, match="bytes of key"):
        CookieKey(cookie_format, ServerKey(1, Secret(bytes(length))))


@pytest.mark.parametrize("identifier", [-1, 1 << 32])
def test_a_key_id_has_32_bits(identifier):
    with pytest.raises(ValueError, match="32 bits"):
        ServerKey(identifier, Secret(bytes(32)))


@pytest.mark.parametrize(("c2s", "s2c"), [(31, 32), (32, 31), (16, 16), (0, 0)])
def test_an_association_has_two_keys_of_its_aead(c2s, s2c):
    with pytest.raises(ValueError, match="two keys of 32 bytes"):
        Association(Aead.AES_SIV_CMAC_256, Secret(bytes(c2s)), Secret(bytes(s2c)))


def test_no_secret_is_ever_shown():
    association, key = association_of(Aead.AES_SIV_CMAC_256), server_key(CHRONY)
    shown = repr(association) + repr(key) + repr(CookieKey(CHRONY, key)) + repr(CookieJar(CHRONY, [key], 0))
    assert "x01" not in shown
    assert "x81" not in shown


@pytest.mark.parametrize("cookie_format", CookieFormat)
@pytest.mark.parametrize("length", range(4))
def test_a_cookie_too_short_for_a_key_id(cookie_format, length):
    with pytest.raises(WireError):
        key_id(cookie_format, bytes(length))


@given(minted(), st.integers(0, 3), nonces)
def test_a_jar_opens_cookies_of_all_its_keys_and_mints_under_the_current(case, current, nonce):
    cookie_format, server, association, cookie = case
    others = [server_key(cookie_format, (server.id + offset) % (1 << 32), offset) for offset in (1, 2, 3)]
    keys = [server, *others]
    jar = CookieJar(cookie_format, keys, current)
    assert jar.open(cookie) == association
    assert all(jar.open(CookieKey(cookie_format, key).mint(association, nonce)) == association for key in keys)
    assert jar.mint(association, nonce) == CookieKey(cookie_format, keys[current]).mint(association, nonce)


@given(minted())
def test_a_jar_refuses_a_cookie_under_a_key_that_it_does_not_have(case):
    cookie_format, server, _, cookie = case
    with pytest.raises(WireError, match="unknown key"):
        CookieJar(cookie_format, [server_key(cookie_format, server.id ^ 1)], 0).open(cookie)
    with pytest.raises(WireError, match="tag"):
        CookieJar(
            cookie_format, [ServerKey(server.id, Secret(bytes(byte ^ 1 for byte in server.secret.reveal())))], 0
        ).open(cookie)


@pytest.mark.parametrize(("count", "current"), [(0, 0), (2, 2), (2, -1)])
def test_a_jar_needs_a_current_key(count, current):
    keys = [server_key(NTSPOOL, identifier) for identifier in range(count)]
    with pytest.raises(ValueError, match="there is no key"):
        CookieJar(NTSPOOL, keys, current)


def test_a_jar_takes_no_two_keys_with_one_id():
    with pytest.raises(ValueError, match="share an id"):
        CookieJar(NTSPOOL, [server_key(NTSPOOL), server_key(NTSPOOL, first=1)], 0)
