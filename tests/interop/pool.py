"""A whole pool for tests: backends that are real daemons, and a gateway that is a process of its own."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ntspool.app.throwaway import Authority
from ntspool.net.keyexchange import Server, exchange_keys
from ntspool.wire.aead import Aead
from ntspool.wire.messages import Request, Response
from ntspool.wire.records import PROTOCOL_NTPV4
from tests.interop.daemons import Daemon, chronyd, endpoint
from tests.interop.lab import Network, free_port, here, running, wait_until, working_directory

HOSTS = ("127.0.0.1", "::1")
PATIENT = "{interval: 500ms, timeout: 400ms, rise: 1, fall: 5}"
"""Probes that a busy machine does not mislead."""

_REQUEST = Request((PROTOCOL_NTPV4,), (Aead.AES_SIV_CMAC_256,))


@dataclass(frozen=True, slots=True)
class Member:
    """A backend of the pool: the daemon that it is, and what backends.yaml says of it besides its name and port."""

    addresses: tuple[str, ...]
    run: Callable[..., AbstractContextManager[Daemon]] = chronyd
    cookies: str = "chrony"
    aeads: str = ""
    port: int = 0


@dataclass
class Pool:
    """A pool that runs. `daemons` holds its backends' daemons by name; the rest tells what clients need to know."""

    members: dict[str, Member]
    directory: Path
    network: Network
    health: str
    port: int
    authority: Authority
    gateway: subprocess.Popen[bytes] = field(init=False)
    daemons: dict[str, Daemon] = field(default_factory=dict, init=False)

    @property
    def ca(self) -> Path:
        """The file that clients trust."""
        return self.directory / "ca.pem"

    @property
    def config(self) -> Path:
        """The gateway's configuration."""
        return self.directory / "backends.yaml"

    def certify(self, authority: Authority) -> None:
        """Write a new certificate for the gateway."""
        authority.issue(["localhost"], HOSTS, self.directory, datetime.now(UTC))

    def keys(self, name: str) -> bytes:
        """Return a backend's key file, as `ntspool keys export` writes it."""
        output = self.directory / f"{name}.keys"
        command = ["keys", "export", name, f"--config={self.config}", f"--output={output}"]
        subprocess.run([sys.executable, "-m", "ntspool", *command], check=True)
        assert output.stat().st_mode & 0o777 == 0o600
        return output.read_bytes()

    @contextmanager
    def daemon(self, name: str, keys: bytes) -> Iterator[Daemon]:
        """Run a backend's daemon with this key file."""
        member = self.members[name]
        with member.run(keys, addresses=member.addresses, port=member.port, network=self.network) as daemon:
            self.daemons[name] = daemon
            yield daemon

    def name_at(self, address: str, port: int) -> str:
        """Return the name of the backend at an address."""
        (name,) = (name for name, each in self.members.items() if each.port == port and address in each.addresses)
        return name

    def log(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return what the gateway has logged so far, in full or of one event."""
        lines = map(json.loads, (self.directory / "log").read_text().splitlines())
        return [line for line in lines if event in (None, line["event"])]

    def up(self) -> set[str]:
        """Return the names of the backends of which the gateway said last that they are UP at every address."""
        states = {}
        for line in self.log():
            if line["event"] in ("backend UP", "backend DOWN"):
                states[line["backend"], line["address"]] = line["event"] == "backend UP"
        return {name for name, each in self.members.items() if all(states.get((name, a)) for a in each.addresses)}

    def wait_until_up(self, *names: str) -> None:
        """Wait until these backends and no others are UP."""
        wait_until(f"{names} to be UP", lambda: self.up() == set(names))

    def spread(self, count: int, ca: Path | None = None) -> Counter[str]:
        """Be `count` clients, one after the other; return how many each backend got. Fails if one is refused."""
        return asyncio.run(self._spread(count, ca or self.ca))

    async def _spread(self, count: int, ca: Path) -> Counter[str]:
        spread: Counter[str] = Counter()
        for _ in range(count):
            reply = (await exchange_keys(Server("127.0.0.1", self.port, "localhost", ca), _REQUEST, 5)).reply
            assert isinstance(reply, Response)
            spread[self.name_at(reply.server, reply.port)] += 1
        return spread


@contextmanager
def running_pool(
    members: dict[str, Member], network: Network | None = None, health: str = PATIENT, extra: str = ""
) -> Iterator[Pool]:
    """Run a gateway and its backends, each with its key file; wait until every one of `members` is UP.

    Backends whose name begins with `stray` are not given their keys but others, and are not waited for.
    """
    with laid_out(members, network, health, extra) as pool, ExitStack() as stack:
        for name in pool.members:
            stack.enter_context(pool.daemon(name, pool.keys(name)))
        stack.enter_context(gateway(pool))
        yield pool


@contextmanager
def laid_out(
    members: dict[str, Member], network: Network | None = None, health: str = PATIENT, extra: str = ""
) -> Iterator[Pool]:
    """Yield a pool of which nothing runs yet."""
    network = network or here()
    with working_directory() as directory:
        # Clients that run as other users must get at ca.pem.
        directory.chmod(0o755)
        ports = {name: Member(**{**_fields(each), "port": each.port or free_port(*each.addresses)}) for name, each in members.items()}
        pool = Pool(ports, directory, network, health, free_port(*HOSTS), Authority.make(datetime.now(UTC)))
        pool.authority.write(pool.ca)
        pool.certify(pool.authority)
        pool.config.write_text(_configuration(pool, extra))
        yield pool
