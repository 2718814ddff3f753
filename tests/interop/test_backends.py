"""Daemons of every kind as backends, each with the key file that `ntspool keys export` writes for it."""

import subprocess
import sys
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest

from tests.interop.clients import Auth, chrony_client
from tests.interop.daemons import chronyd, endpoint, ntpd_rs, ntpsec, timeserver
from tests.interop.lab import free_port, namespace, wait_until
from tests.interop.pool import Member, laid_out


@contextmanager
def synchronised_ntpd_rs(*arguments, **options):
    """Run an ntpd-rs that has the time from a chronyd."""
    address, port = "127.0.0.21", free_port("127.0.0.21")
    source = endpoint(address, port)
    with chronyd(addresses=[address], port=port), ntpd_rs(*arguments, source=source, **options) as daemon:
        yield daemon


def exported(pool, name):
    """Return the key file of a backend."""
    output = pool.directory / f"{name}.keys"
    command = [sys.executable, "-m", "ntspool", "keys", "export", name, f"--config={pool.config}"]
    subprocess.run([*command, f"--output={output}"], check=True)
    assert output.stat().st_mode & 0o777 == 0o600
    return output.read_bytes()


@pytest.mark.parametrize(
    ("run", "cookies", "cookie_length", "network", "port"),
    [
        pytest.param(chronyd, "chrony", 100, None, 0, id="chronyd"),
        pytest.param(partial(chronyd, program="chronyd-new"), "chrony", 100, None, 0, id="chronyd-new"),
        pytest.param(ntpsec, "ntpsec", 104, namespace, 123, id="ntpsec"),
        pytest.param(synchronised_ntpd_rs, "ntpd-rs", 104, None, 0, id="ntpd-rs"),
        pytest.param(timeserver, "ntspool", 104, None, 0, id="ntspool"),
    ],
)
def test_a_client_gets_authenticated_time_from(run, cookies, cookie_length, network, port):
    with ExitStack() as stack:
        inside = stack.enter_context(network()) if network else None
        pool = stack.enter_context(laid_out([Member("ntp-1", ("127.0.0.1",), run, cookies, port=port)], inside))
        stack.enter_context(pool.daemon("ntp-1", exported(pool, "ntp-1")))
        stack.enter_context(pool.gateway())
        pool.wait_until_up("ntp-1")
        client = stack.enter_context(chrony_client(pool))
        assert client.settle(good=10).authenticated
        auth = Auth("NTS", 1, 15, 256, attempts=0, naks=0, cookies=8, cookie_length=cookie_length)
        wait_until(f"{auth}", lambda: client.auth() == auth)


def test_a_backend_that_is_not_synchronised_is_kept_out():
    members = [Member("ntp-1", ("127.0.0.11",), ntpd_rs, "ntpd-rs"), Member("ntp-2", ("127.0.0.12",))]
    with laid_out(members) as pool, pool.daemon("ntp-1"), pool.daemon("ntp-2"), pool.gateway():
        pool.wait_until_up("ntp-2")
        assert pool.given_out(30) == {"ntp-2"}
        (down,) = pool.log("backend DOWN")
    assert down["backend"] == "ntp-1"
    assert down["cause"].startswith("unsynchronised")
