"""What tests on every floor start from."""

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import structlog
from hypothesis import HealthCheck, settings

from ntspool.app.throwaway import Authority
from ntspool.net.tls import read_certificate
from ntspool.pool.cookies import CLIENT_AEADS, SERVER_AEAD, CookieFormat, ServerKey
from ntspool.pool.model import Backend, Certificate, Client, Serving, UpAddress
from ntspool.wire.secret import Secret

# Deadlines and the time that examples take measure the machine, not the code. The same examples are tried each time:
# what the tests say of a change must come from the change. NTSPOOL_EXPLORE has them look for new ones.
settings.register_profile(
    "ntspool",
    deadline=None,
    derandomize="NTSPOOL_EXPLORE" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ntspool")


_BYTECODE = "NTSPOOL_BYTECODE"


def pytest_configure(config):
    """Make a place for bytecode that is there for this run, if none may be kept beside the sources."""
    if sys.dont_write_bytecode and _BYTECODE not in os.environ:
        kept = TemporaryDirectory(prefix="ntspool-bytecode-", ignore_cleanup_errors=True)
        config.add_cleanup(kept.cleanup)
        # Some processes run as another user.
        Path(kept.name).chmod(0o755)
        os.environ[_BYTECODE] = kept.name


def pytest_collection_modifyitems(items):
    """Begin with the files that wait for daemons: what is left in the end is to be short."""
    items.sort(key=lambda item: "interop" not in item.path.parts)


@pytest.fixture(scope="session", autouse=True)
def bytecode():
    """Let none of the hundreds of processes of ours that tests start compile what another one has."""
    if _BYTECODE in os.environ:
        os.environ["PYTHONPYCACHEPREFIX"] = os.environ[_BYTECODE]
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@dataclass(frozen=True)
class Pki:
    """A certificate authority and a server certificate for localhost, 127.0.0.1 and ::1, as files."""

    authority: Authority
    ca: Path
    chain: Path
    key: Path

    @property
    def certificate(self) -> Certificate:
        return read_certificate(self.chain, self.key)


@pytest.fixture(autouse=True)
def logs_as_they_were():
    """Take back what a gateway of a test has made of the logs: it wrote to that test's standard error."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    directory = tmp_path_factory.mktemp("pki")
    now = datetime.now(UTC)
    authority = Authority.make(now)
    authority.write(directory / "ca.pem")
    chain, key = authority.issue(["localhost", "*.pool.test"], ["127.0.0.1", "::1"], directory, now)
    return Pki(authority, directory / "ca.pem", chain, key)


V4, V6 = Client(ip_address("198.51.100.1").packed), Client(ip_address("2001:db8::c").packed)
"""A client of each family."""


def all_up(backend: Backend, addresses: Iterable[object] | None = None) -> tuple[UpAddress, ...]:
    """Return these addresses of a backend, or all, as UP with all its AEADs and its whole weight."""
    chosen = backend.addresses if addresses is None else tuple(ip_address(str(each)) for each in addresses)
    return tuple(UpAddress(address, backend.aeads, backend.weight) for address in chosen)


def make_serving(
    name: str = "ntp-1", address: str = "192.0.2.1", cookies: CookieFormat = CookieFormat.NTSPOOL, **more: object
) -> Serving:
    """Return a backend that is UP."""
    declared: dict[str, object] = {"port": 123, "weight": 10, "aeads": CLIENT_AEADS[cookies], "key_group": name, **more}
    backend = Backend(name=name, addresses=(ip_address(address),), cookies=cookies, **declared)
    return Serving(backend, all_up(backend), ServerKey(3, Secret(bytes(range(SERVER_AEAD[cookies].key_length)))))
