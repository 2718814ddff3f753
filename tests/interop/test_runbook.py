"""What the runbook promises, done to a pool of real chronyds."""

from tests.interop.clients import chrony_client
from tests.interop.lab import wait_until
from tests.interop.pool import Member
from tests.interop.rotating import PATIENCE, rotating_pool

MEMBERS = [Member(f"ntp-{number}", (f"127.0.0.{10 + number}",)) for number in (1, 2)]


def minting(site):
    return wait_until("both backends", lambda: (m := site.minting()).keys() == site.pool.members.keys() and m, PATIENCE)


def test_backends_and_clients_survive_a_lost_keyring_by_themselves():
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
        wait_until("the client to have its time", lambda: is_well(client), PATIENCE)


def is_well(client):
    """Tell whether a client's last answer was authentic and nothing is amiss; it may have begun anew."""
    auth, traffic = client.auth(), client.traffic()
    good = auth is not None and auth.cookies and not auth.naks and not auth.attempts
    return good and traffic is not None and traffic.authenticated


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
