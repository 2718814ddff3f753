"""A real etcd of several members on loopback, each a process that can be killed and started again."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.interop.lab import DEADLINE, Network, find, free_port, here, wait_until, working_directory

QUICK = ("--heartbeat-interval=50", "--election-timeout=500")
"""A leader that dies is replaced within a second or two, also where the disk and the cores are busy."""


@dataclass
class Member:
    """One member: its name, its address, the port for clients and the one for the other members."""

    name: str
    address: str
    client: int
    peer: int
    scheme: str = "http"
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}:{self.client}"

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None


@dataclass
class EtcdCluster:
    """Members by name; `directory` holds their data and logs.

    `options` are more words of each command, `trust` those that etcdctl needs to be let in.
    """

    directory: Path
    network: Network
    options: Sequence[str] = ()
    trust: Sequence[str] = ()
    members: dict[str, Member] = field(default_factory=dict)

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(each.url for each in self.members.values())

    def start(self, *names: str) -> None:
        """Start members with the data that they had, if none is named all that do not run."""
        everyone = ",".join(f"{each.name}=http://{each.address}:{each.peer}" for each in self.members.values())
        for name in names or [each.name for each in self.members.values() if not each.runs]:
            each = self.members[name]
            peer = f"http://{each.address}:{each.peer}"
            command = [
                *(*self.network.inside, find("etcd"), f"--name={name}", f"--data-dir={self.directory}/{name}"),
                *(f"--listen-client-urls={each.url}", f"--advertise-client-urls={each.url}"),
                *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
                *(f"--initial-cluster={everyone}", "--initial-cluster-token=ntspool"),
                *("--logger=zap", "--log-level=warn", *QUICK, *self.options),
            ]
            with (self.directory / f"{name}.log").open("ab") as log:
                each.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self, *names: str) -> None:
        """Kill members, all if none is named, as a power cut does."""
        for name in names or self.members:
            process = self.members[name].process
            if process is not None:
                process.kill()
                process.wait(DEADLINE)

    def pause(self) -> None:
        """Let every member hang: its sockets are there, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Undo `pause`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        for each in self.members.values():
            if each.process is not None and each.runs:
                each.process.send_signal(number)

    def leader(self) -> str:
        """Return the name of the member that leads."""
        return wait_until("etcd to have a leader", self._leader)

    def _leader(self) -> str | None:
        for each in self.members.values():
            if not each.runs:
                continue
            found = self.control("endpoint", "status", "--write-out=fields", endpoint=each.url, check=False)
            fields = dict(line.replace('"', "").split(" : ", 1) for line in found.splitlines() if " : " in line)
            if fields and fields.get("MemberID") == fields.get("Leader"):
                return each.name
        return None

    def control(self, *words: str, endpoint: str = "", check: bool = True) -> str:
        """Run etcdctl and return what it says."""
        endpoints = endpoint or ",".join(each.url for each in self.members.values() if each.runs)
        command = [*self.network.inside, find("etcdctl"), f"--endpoints={endpoints}", "--command-timeout=3s"]
        command += [*self.trust, *words]
        done = subprocess.run(
            command, env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout


@contextmanager
def etcd(
    members: int = 3,
    network: Network | None = None,
    address: str = "127.0.0.1",
    options: Sequence[str] = (),
    trust: Sequence[str] = (),
) -> Iterator[EtcdCluster]:
    """Run an etcd, from when it has a leader; skips the test where none is installed."""
    find("etcd"), find("etcdctl")
    with working_directory() as directory:
        cluster = EtcdCluster(directory, network or here(), options, trust)
        for number in range(1, members + 1):
            name = f"etcd-{number}"
            scheme = "https" if trust else "http"
            cluster.members[name] = Member(name, address, free_port("127.0.0.1"), free_port("127.0.0.1"), scheme)
        cluster.start()
        try:
            cluster.leader()
            yield cluster
        finally:
            cluster.kill()
