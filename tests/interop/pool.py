"""A whole pool for tests: backends that are real daemons, and a gateway that is a process of its own."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ntspool.app.demo_backends import has_ipv6
from ntspool.app.export import key_file
from ntspool.app.throwaway import Authority
from ntspool.net.keyexchange import Server, exchange_keys
from ntspool.pool.model import FIXED_KEY
from ntspool.wire.aead import Aead
from ntspool.wire.messages import Request, Response
from ntspool.wire.records import PROTOCOL_NTPV4
from tests.interop.daemons import Daemon, chronyd, endpoint
from tests.interop.lab import Network, free_port, here, running, wait_until, working_directory
from tests.processes import end_workers
from tests.secrecy import check_gateway, private_key

HOSTS = ("127.0.0.1", "::1") if has_ipv6() else ("127.0.0.1",)
"""The gateway's addresses."""

PATIENT = "{interval: 500ms, timeout: 450ms, rise: 1, fall: 6}"
"""Probes that a busy machine does not mislead."""

_TIMEOUT = 10.0
_REQUEST = Request((PROTOCOL_NTPV4,), (Aead.AES_SIV_CMAC_256,))


@dataclass
class Member:
    """A backend of the pool: what backends.yaml says of it, at last `more`, and the function that runs its daemon."""

    name: str
    addresses: tuple[str, ...]
    run: Callable[..., AbstractContextManager[Daemon]] = chronyd
    cookies: str = "chrony"
    aeads: str = ""
    port: int = 0
    more: str = ""

    def __post_init__(self) -> None:
        self.port = self.port or free_port(*self.addresses)

    def declaration(self) -> str:
        """Return its line in backends.yaml."""
        more = (f", aeads: {self.aeads}" if self.aeads else "") + self.more
        addresses = ", ".join(map(repr, self.addresses))
        return f"  - {{name: {self.name}, address: [{addresses}], port: {self.port}, cookies: {self.cookies}{more}}}\n"


@dataclass
class Pool:
    """A pool: its files in `directory`, its gateway at `port` of HOSTS, its backends' daemons by their names.

    The daemons, with their agents, run in the network `afar`, if not in that of the gateway.
    """

    directory: Path
    network: Network
    port: int
    members: dict[str, Member]
    daemons: dict[str, Daemon] = field(default_factory=dict)
    afar: Network | None = None

    @property
    def ca(self) -> Path:
        """The file that clients trust."""
        return self.directory / "ca.pem"

    @property
    def daemons_network(self) -> Network:
        """Where the backends are."""
        return self.afar or self.network

    @property
    def config(self) -> Path:
        """The gateway's configuration."""
        return self.directory / "backends.yaml"

    @contextmanager
    def daemon(self, name: str, keys: bytes | None = None) -> Iterator[Daemon]:
        """Run a backend's daemon, with its own keys unless it is given others."""
        member = self.members[name]
        if member.cookies != FIXED_KEY:
            keys = keys or key_file(self.config, name)
        with member.run(keys, addresses=member.addresses, port=member.port, network=self.daemons_network) as daemon:
            self.daemons[name] = daemon
            yield daemon

    @contextmanager
    def gateway(self, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
        """Run the gateway, from when it serves; `env` is its environment if it is not ours."""
        command = [*self.network.inside, sys.executable, "-m", "ntspool", "serve", f"--config={self.config}"]
        with running(command, self.directory / "log", env=env) as process:
            wait_until("the gateway to serve", lambda: self.log("serving") or process.poll() is not None)
            assert process.poll() is None, (self.directory / "log").read_text()
            yield process

    def log(self, event: str) -> list[dict[str, Any]]:
        """Return what the gateway has logged of an event."""
        text = (self.directory / "log").read_text()
        # The last line may be there only in part.
        lines = map(json.loads, text[: text.rfind("\n") + 1].splitlines())
        return [line for line in lines if line["event"] == event]

    def up(self) -> set[str]:
        """Return the names of the backends that are UP at each of their addresses."""
        changes = sorted(self.log("backend UP") + self.log("backend DOWN"), key=lambda line: line["timestamp"])
        last = {(line["backend"], line["address"]): line["event"] for line in changes}
        return {
            each.name
            for each in self.members.values()
            if all(last.get((each.name, address)) == "backend UP" for address in each.addresses)
        }

    def wait_until_up(self, *names: str) -> None:
        """Wait until these backends and no others are UP."""
        wait_until(f"UP to be {names}", lambda: self.up() == set(names))

    def name_at(self, address: str, port: int) -> str:
        """Return the name of the backend at an address."""
        (name,) = (each.name for each in self.members.values() if each.port == port and address in each.addresses)
        return name

    def session(self, ca: Path | None = None) -> str:
        """Be a client once, which trusts `ca`, and return the backend that is given out.

        Raises RemoteError when the gateway is not trusted or does not answer; fails the test when it refuses.
        """
        server = Server("127.0.0.1", self.port, "localhost", ca or self.ca)
        reply = asyncio.run(exchange_keys(server, _REQUEST, _TIMEOUT)).reply
        assert isinstance(reply, Response), reply
        return self.name_at(str(reply.server), int(reply.port or 123))

    def given_out(self, sessions: int) -> set[str]:
        """Be a client so many times and return the backends that are given out."""
        return {self.session() for _ in range(sessions)}


@contextmanager
def laid_out(
    members: Sequence[Member],
    network: Network | None = None,
    health: str = PATIENT,
    afar: Network | None = None,
    authority: Authority | None = None,
) -> Iterator[Pool]:
    """Make a pool of which nothing runs yet; its backends are to run in the network `afar`, if it is given one.

    Its certificate is issued by an authority of its own, if it is given none.
    """
    with working_directory() as directory:
        # Clients that run as other users must get at ca.pem.
        directory.chmod(0o755)
        authority = authority or Authority.make(datetime.now(UTC))
        by_name = {each.name: each for each in members}
        pool = Pool(directory, network or here(), free_port(*HOSTS), by_name, afar=afar)
        authority.write(pool.ca)
        certificate, key = authority.issue(["localhost"], HOSTS, directory, datetime.now(UTC))
        listen = ", ".join(f'"{endpoint(host, pool.port)}"' for host in HOSTS)
        pool.config.write_text(
            f"pool: {{names: [localhost]}}\nlisten: [{listen}]\nworkers: 2\n"
            # All clients of a test have one address.
            "limits: {per_address: {sessions: off, rate: off}, per_network: {sessions: off, rate: off}}\n"
            f"tls: [{{certificate: {certificate}, key: {key}}}]\nstate: {directory}/state\nhealth: {health}\n"
            f"backends:\n{''.join(each.declaration() for each in members)}"
        )
        try:
            yield pool
        finally:
            end_workers(directory / "state")
        check_gateway(directory, by_name, {"private key": private_key(key.read_bytes())})


@contextmanager
def running_pool(
    members: Sequence[Member], network: Network | None = None, health: str = PATIENT, afar: Network | None = None
) -> Iterator[Pool]:
    """Run a pool; from when every backend is UP."""
    with laid_out(members, network, health, afar) as pool, ExitStack() as stack:
        for each in members:
            stack.enter_context(pool.daemon(each.name))
        stack.enter_context(pool.gateway())
        pool.wait_until_up(*pool.members)
        yield pool
