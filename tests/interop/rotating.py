"""A pool whose keys rotate: backends, each with an agent, and a gateway that can be killed, all of them processes."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ntspool.app.adminclient import call
from ntspool.app.adminsocket import find_socket
from ntspool.errors import RefusedError
from tests.interop.daemons import Daemon, endpoint
from tests.interop.lab import Network, free_port, running, wait_until
from tests.interop.pool import Member, Pool, laid_out
from tests.interop.supervised import Supervisor
from tests.systemd import activated

PATIENCE = 80.0
"""Seconds in which a rotation must be allowed, or the agents must have done their work."""

_HEALTH = "{interval: 300ms, timeout: 290ms, rise: 1, fall: 10}"


@dataclass
class Rotating:
    """A pool with agents; `life` is that of cookies in seconds, `outages` are when no gateway was there, Unix seconds.

    `processes` are the agents that run and, as "gateway", the gateway; `program` is the ntspool that all of them are,
    and `sockets` what systemd would open for the gateway.
    """

    pool: Pool
    life: float
    control: int
    stack: ExitStack
    supervisor: Supervisor | None = None
    program: Sequence[str] = (sys.executable, "-m", "ntspool")
    sockets: Sequence[socket.socket] = ()
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    outages: list[tuple[float, float]] = field(default_factory=list)
    _logs: dict[str, list[Path]] = field(default_factory=dict)

    def ntspool(self, *words: str, status: int = 0) -> str:
        """Run a command of ours that must end with this status; return what it printed, errors included."""
        done = self._run(words)
        assert done.returncode == status, (words, done.stdout)
        return done.stdout

    def attempt(self, *words: str, config: bool = True) -> tuple[int, str]:
        """Run a command of ours, with our configuration if it takes one; return its exit status and what it printed."""
        done = self._run(words, config=config)
        return done.returncode, done.stdout

    def ask(self, method: str, resource: str) -> dict[str, Any]:
        """Return what the gateway says to commands: who waits for something asks as they do, but starts no process."""
        return call(find_socket(self.pool.config), method, resource)

    def status(self) -> dict[str, Any]:
        """Return what `ntspool keys status` shows."""
        return self.ask("GET", "/v1/keys")

    def current(self) -> int:
        """Return the number of the current epoch."""
        return next(each["epoch"] for each in self.status()["epochs"] if each["state"] == "current")

    def minting(self) -> dict[str, int]:
        """Return the epoch that each backend that is UP mints under itself."""
        return {each["backend"]: each["minting"] for each in self.status()["backends"] if each["state"] == "UP"}

    def try_to_rotate(self) -> str | None:
        """Rotate; return what the gateway says when it refuses."""
        try:
            self.ask("POST", "/v1/keys/rotate")
        except RefusedError as refusal:
            return str(refusal)
        return None

    def rotate(self) -> None:
        """Rotate once the gateway allows it."""
        last: list[str | None] = [""]

        def rotated() -> bool:
            time.sleep(0.1 if last[0] else 0)
            last[0] = self.try_to_rotate()
            return last[0] is None

        try:
            wait_until("a rotation", rotated, PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{error}: {last[0]}") from error

    def start_gateway(self) -> None:
        """Run the gateway, from when it serves."""
        command = ("serve", f"--config={self.pool.config}")
        self._start("gateway", command, self.pool.directory / "log")
        wait_until("the gateway to serve", lambda: self._alive("gateway") and self.log("gateway", "serving"))

    def restart_gateway(self) -> None:
        """Kill the gateway as a crash would, and run it again."""
        began = time.time()
        self.kill("gateway")
        self.start_gateway()
        self.outages.append((began, time.time()))

    def stop_and_start_gateway(self) -> None:
        """Restart the gateway as `systemctl restart` does."""
        self.processes["gateway"].terminate()
        self.processes["gateway"].wait()
        self.start_gateway()

    def enroll(self, name: str) -> None:
        """Enrol a backend's agent with a new token."""
        token = self.ntspool("backend", "enroll", name).strip()
        words = ("agent", "enroll", token, f"--gateway=127.0.0.1:{self.control}", f"--state={self._state(name)}")
        assert f"enrolled as the agent of {name}" in self._run(words, config=False).stdout

    def start_agent(self, name: str) -> None:
        """Run a backend's agent, which was enrolled."""
        self._start(name, self.agent_words(name), self.pool.directory / f"{name}.log")

    def agent_words(self, name: str) -> tuple[str, ...]:
        """Return the command that runs a backend's agent."""
        member, daemon = self.pool.members[name], self.pool.daemons[name]
        options = [
            f"--state={self._state(name)}",
            f"--daemon={member.cookies}",
            f"--key-file={daemon.key_file}",
            f"--ntp={endpoint(member.addresses[0], member.port)}",
            f"--chronyc-socket={daemon.directory}/run/chronyd.sock",
            f"--chrony-conf={daemon.directory}/conf",
        ]
        if self.supervisor is not None:
            options.append(f"--restart={' '.join(self.supervisor.command(name, daemon))}")
        return ("agent", *options)

    def kill(self, name: str) -> None:
        """Kill an agent or the gateway as a crash would."""
        self.processes[name].kill()
        self.processes[name].wait()

    def log(self, name: str, event: str) -> list[dict[str, Any]]:
        """Return what the last run of an agent or the gateway has logged of an event."""
        text = self.said(name)
        lines = [line for line in text[: text.rfind("\n") + 1].splitlines() if line.startswith("{")]
        return [line for line in map(json.loads, lines) if line["event"] == event]

    def said(self, name: str) -> str:
        """Return all that the last run of an agent or the gateway has printed."""
        return self._logs[name][-1].read_text()

    def _start(self, name: str, words: Sequence[str], log: Path) -> None:
        logs = self._logs.setdefault(name, [])
        logs.append(log.with_name(f"{log.name}.{len(logs)}"))
        command, options = self._words(words), {}
        if name == "gateway" and self.sockets:
            command, options = activated(command, self.sockets), {"pass_fds": [each.fileno() for each in self.sockets]}
        self.processes[name] = self.stack.enter_context(running(command, logs[-1], **options))

    def _alive(self, name: str) -> bool:
        assert self.processes[name].poll() is None, self.said(name)
        return True

    def _run(self, words: Sequence[str], *, config: bool = True) -> subprocess.CompletedProcess[str]:
        more = [f"--config={self.pool.config}"] if config else []
        command = self._words([*words, *more])
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)

    def _words(self, words: Sequence[str]) -> list[str]:
        network = self.pool.daemons_network if words[0] == "agent" else self.pool.network
        return [*network.inside, *self.program, *words]

    def _state(self, name: str) -> Path:
        return self.pool.directory / f"{name}.agent"


def unix_time(line: dict[str, Any]) -> float:
    """Return when a line was logged, in Unix seconds."""
    return datetime.fromisoformat(line["timestamp"]).timestamp()


@contextmanager
def rotating_pool(
    members: Sequence[Member],
    life: float,
    network: Network | None = None,
    supervisor: Supervisor | None = None,
) -> Iterator[Rotating]:
    """Run a pool with agents, from when every backend is UP under the keys that its agent has brought.

    Daemons start with keys of their own making, or with the pool's where there is a supervisor to restart them.
    """
    with laid_out(members, network, _HEALTH) as pool, ExitStack() as stack:
        control = free_port("127.0.0.1")
        with pool.config.open("a") as config:
            config.write(f'keys: {{rotate: off, life: {life:g}s}}\ncontrol: {{listen: ["127.0.0.1:{control}"]}}\n')
        rotating = Rotating(pool, life, control, stack, supervisor)
        for each in members:
            stack.enter_context(pool.daemon(each.name) if supervisor else unkeyed(pool, each))
        rotating.start_gateway()
        for each in members:
            rotating.enroll(each.name)
            rotating.start_agent(each.name)
        wait_until("all backends to be UP", lambda: rotating.minting().keys() == pool.members.keys(), PATIENCE)
        yield rotating


@contextmanager
def unkeyed(pool: Pool, member: Member) -> Iterator[Daemon]:
    """Run a backend's daemon with keys of its own making."""
    with member.run(None, addresses=member.addresses, port=member.port, network=pool.daemons_network) as daemon:
        pool.daemons[member.name] = daemon
        yield daemon
