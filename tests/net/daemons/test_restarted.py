"""When a daemon that reads keys only at its start has to start again."""

import asyncio
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import LocalError
from ntspool.net.daemons.restarted import NtpdRs, Ntpsec, stock_low
from ntspool.pool.cookies import CookieFormat, ServerKey
from ntspool.pool.keyfiles import KeySet
from ntspool.pool.keyring import create
from ntspool.wire.secret import Secret


def random(seed):
    """Return a source of bytes that differ with every call."""
    count = 0

    def draw(length):
        nonlocal count
        count += 1
        return (seed + count).to_bytes(8, "big") * (length // 8)

    return draw


def at(current):
    """Return a key set as the keyring offers it while `current` is."""
    return KeySet(
        tuple(
            ServerKey(number % 2**32, Secret(bytes([number % 256]) * 32)) for number in range(current - 2, current + 4)
        ),
        2,
    )


@pytest.mark.parametrize("start", [10, 2**32 - 3])
def test_a_stock_lasts_for_two_rotations(start):
    assert [stock_low(at(start), at(start + step)) for step in range(7)] == [False, False, True, True, True, True, True]


@pytest.mark.parametrize("daemon", [Ntpsec(), NtpdRs()])
def test_a_daemon_is_outdated_when_its_stock_is_low(daemon):
    assert daemon.restarts
    assert [daemon.outdated(at(10), at(10 + step)) for step in range(3)] == [False, False, True]


def test_a_keyring_from_a_backup_is_loaded():
    assert stock_low(at(10), at(9))


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.sampled_from([CookieFormat.NTPSEC, CookieFormat.NTPD_RS]))
def test_no_cookie_of_the_daemon_dies_young_and_the_current_key_is_always_there(rotates, cookie_format):
    """Whatever the order of rotations and of the agent's looks, if it looks between two rotations at least once."""
    draw = random(0)
    keyring = create(0, draw)
    loaded = keyring.keys("g", cookie_format)
    for rotate in rotates:
        if rotate:
            keyring = keyring.rotate(1, draw)
        offered = keyring.keys("g", cookie_format)
        if stock_low(loaded, offered):
            # The key that the daemon has minted under so far survives its restart.
            assert loaded.keys[loaded.current] in offered.keys
            loaded = offered
        held = offered.keys[offered.current - 1 :][:3]
        assert set(held) <= set(loaded.keys)


@pytest.mark.parametrize("which", range(6))
@pytest.mark.parametrize("cookie_format", [CookieFormat.NTPSEC, CookieFormat.NTPD_RS])
def test_a_revocation_is_loaded_at_once(which, cookie_format):
    draw = random(0)
    keyring = create(0, draw)
    loaded = keyring.keys("g", cookie_format)
    revoked = keyring.revoke(keyring.epochs[which].number, 1, draw)
    assert stock_low(loaded, revoked.keys("g", cookie_format))
    again = revoked.keys("g", cookie_format)
    assert not stock_low(again, revoked.keys("g", cookie_format))


@pytest.mark.parametrize("daemon", [Ntpsec, NtpdRs])
def test_the_restart_is_a_command_of_the_operator(tmp_path, daemon):
    done = tmp_path / "done"
    asyncio.run(daemon(tmp_path / "keys", ("touch", str(done))).load())
    assert done.exists()
    with pytest.raises(LocalError, match="`sh -c echo no such unit >&2; exit 5` failed with 5: no such unit"):
        asyncio.run(daemon(tmp_path / "keys", ("sh", "-c", "echo no such unit >&2; exit 5")).load())


def test_each_daemon_gets_its_file(tmp_path):
    keyring = create(0, os.urandom)
    for daemon, mode in ((Ntpsec(tmp_path / "a"), 0o600), (NtpdRs(tmp_path / "b"), 0o640)):
        keys = keyring.keys("g", daemon.cookies)
        asyncio.run(daemon.install(keys, 1.5))
        assert daemon.key_file.stat().st_mode & 0o777 == mode
        assert set(daemon.installed().keys) == set(keys.keys)
        assert daemon.installed().keys[daemon.installed().current] == keys.keys[keys.current]
