"""ntspool/pool/ownkeys.py: a new key a day, and no cookie lost for two more."""

from ntspool.pool.cookies import Association, CookieFormat, CookieJar, ServerKey
from ntspool.pool.keyfiles import KeySet
from ntspool.pool.ownkeys import SECRET_LENGTH, following
from ntspool.wire.aead import Aead
from ntspool.wire.secret import Secret

ASSOCIATION = Association(Aead.AES_SIV_CMAC_256, Secret(bytes(32)), Secret(bytes(32)))


def secret(number):
    return Secret(bytes([number]) * SECRET_LENGTH)


def test_the_newest_mints_and_two_before_it_stay():
    keys, cookies = None, []
    for number in range(1, 6):
        keys = following(keys, secret(number))
        jar = CookieJar(CookieFormat.NTSPOOL, keys.keys, keys.current)
        cookies.append(jar.mint(ASSOCIATION, bytes(16)))
        assert [jar.open(cookie) for cookie in cookies[-3:]] == [ASSOCIATION] * len(cookies[-3:])
    assert keys == KeySet(tuple(ServerKey(number, secret(number)) for number in (3, 4, 5)), 2)


def test_ids_wrap_and_keys_that_do_not_mint_yet_are_let_go():
    keys = KeySet((ServerKey(2**32 - 1, secret(1)), ServerKey(7, secret(2))), 0)
    assert following(keys, secret(3)) == KeySet((ServerKey(2**32 - 1, secret(1)), ServerKey(0, secret(3))), 1)
