"""What the runbook promises, done to a pool of real chronyds."""

from tests.interop.clients import chrony_client
from tests.interop.lab import wait_until
from tests.interop.pool import Member
from tests.interop.rotating import PATIENCE, rotating_pool

MEMBERS = [Member(f"ntp-{number}", (f"127.0.0.{10 + number}",)) for number in (1, 2)]


def minting(site):
    return wait_until("both backends", lambda: (m := site.minting()).keys() == site.pool.members.keys() and m, PATIENCE)


def test_a_keyring_that_is_lost_costs_each_client_one_nak():
    with rotating_pool(MEMBERS, life=1) as site, chrony_client(site.pool) as client:
        site.rotate()
        client.settle()
        before = site.current()
        site.kill("gateway")
        state = site.pool.directory / "state"
        (state / "keyring").unlink()
        status, said = site.attempt("serve")
        assert status == 1
        assert "the keyring is lost" in said
        (state / "keyring-made").unlink()
        site.start_gateway()
        # Nobody but the agents does anything about it.
        assert set(minting(site).values()) == {site.current()}
        assert site.current() < before
        wait_until(
            "another key exchange", lambda: (auth := client.auth()) and auth.key_id == 2 and not auth.naks, PATIENCE
        )
        assert client.settle().authenticated


def test_a_keyring_that_is_restored_is_taken_over_by_a_reload():
    with rotating_pool(MEMBERS, life=1) as site:
        backup = str(site.pool.directory / "keyring.backup")
        site.ntspool("keys", "backup", "--output", backup)
        kept = site.current()
        site.rotate()
        site.ntspool("keys", "restore", backup, "--replace")
        site.ntspool("reload")
        assert site.current() == kept
        wait_until("both to mint under it", lambda: set(minting(site).values()) == {kept}, PATIENCE)
