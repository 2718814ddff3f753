"""A gateway's surroundings for tests: configuration, keys and embedded time servers in this process."""

import subprocess
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ntspool.app import export
from ntspool.net.atomic import write_atomically
from ntspool.net.keyexchange import Server, exchange_keys
from ntspool.net.timeserver import TimeServer
from ntspool.wire.messages import Request
from tests.interop.lab import free_port

REQUEST = Request((0,), (15,))


@dataclass
class Surroundings:
    """Files of a pool whose gateway has not been started; `more` lines can be put in by `configure`."""

    directory: Path
    pki: object
    ke_port: int
    ntp_port: int
    names: tuple[str, ...] = ("ntp-1", "ntp-2")

    @property
    def config(self) -> Path:
        return self.directory / "backends.yaml"

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def server(self) -> Server:
        return Server("127.0.0.1", self.ke_port, "localhost", self.pki.ca)

    def address(self, name: str) -> str:
        return f"127.0.0.{20 + self.names.index(name)}"

    def key_file(self, name: str) -> Path:
        return self.directory / f"{name}.keys"

    def configure(
        self,
        workers: int = 1,
        names: tuple[str, ...] | None = None,
        rotate: str = "off",
        interval: str = "100ms",
        panic: int = 50,
        timeout: str = "90ms",
        listen: str = "",
    ) -> None:
        listen = listen or f"127.0.0.1:{self.ke_port}"
        listed = "".join(
            f"  - {{name: {name}, address: {self.address(name)}, port: {self.ntp_port}, cookies: ntspool}}\n"
            for name in names or self.names
        )
        self.config.write_text(
            f"pool: {{names: [localhost]}}\nlisten: ['{listen or f'127.0.0.1:{self.ke_port}'}']\nworkers: {workers}\n"
            f"tls: [{{certificate: {self.directory}/chain.pem, key: {self.directory}/key.pem}}]\n"
            f"state: {self.directory}/state\nkeys: {{rotate: {rotate}}}\n"
            f"health: {{interval: {interval}, timeout: {timeout}, rise: 1, fall: 2, panic: {panic}}}\n"
            f"log: {{format: json}}\n"
            f"backends:\n{listed}"
        )

    def write_certificate(self, chain: bytes, key: bytes) -> None:
        write_atomically(self.directory / "key.pem", key)
        write_atomically(self.directory / "chain.pem", chain)

    def give_keys(self) -> None:
        for name in self.names:
            export.write(self.key_file(name), export.key_file(self.config, name))

    @asynccontextmanager
    async def time_servers(self):
        """Yield the embedded time servers by name; they run until the end."""
        async with AsyncExitStack() as stack:
            yield {
                name: await stack.enter_async_context(
                    TimeServer([(self.address(name), self.ntp_port)], self.key_file(name), 3, poll_interval=0.05)
                )
                for name in self.names
            }

    async def session(self):
        """Be a client once; return the server's answer."""
        return (await exchange_keys(self.server, REQUEST, 5)).reply


def lay_out(directory: Path, pki) -> Surroundings:
    """Return a pool of two backends on free ports, its configuration and key files written."""
    around = Surroundings(directory, pki, free_port("127.0.0.1"), free_port("127.0.0.20", "127.0.0.21"))
    around.write_certificate(pki.chain.read_bytes(), pki.key.read_bytes())
    around.configure()
    around.give_keys()
    return around


def run_ntspool(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a command of ntspool to its end."""
    command = [sys.executable, "-m", "ntspool", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
