"""Real clients of a pool, each a context manager; none has any power over the clock."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.interop.daemons import NOCLOCK, chrony_paths, chronyc, endpoint
from tests.interop.lab import Network, find, running, wait_until, working_directory
from tests.interop.pool import Pool


class Auth(NamedTuple):
    """A line of `chronyc authdata`; `key_id` counts the key exchanges, `cookie_length` is in bytes."""

    mode: str
    key_id: int
    aead: int
    key_bits: int
    attempts: int
    naks: int
    cookies: int
    cookie_length: int


class Traffic(NamedTuple):
    """What `chronyc ntpdata` tells: whom the client talks NTP to, and how many good answers it has got."""

    address: str
    port: int
    authenticated: bool
    good: int


@dataclass(frozen=True, slots=True)
class ChronyClient:
    """A chronyd that is a client of the pool."""

    program: str
    source: str
    directory: Path
    network: Network

    def auth(self) -> Auth | None:
        """Return the state of its NTS association."""
        match self._ask("-N", "authdata"):
            case [_, mode, key_id, aead, bits, _, attempts, naks, cookies, length]:
                return Auth(mode, *map(int, (key_id, aead, bits, attempts, naks, cookies, length)))
        return None

    def traffic(self) -> Traffic | None:
        """Return whom it talks NTP to, and how that goes since it does."""
        match self._ask("ntpdata"):
            case [address, _, port, *words]:
                return Traffic(address, int(port), authenticated=words[24] == "Yes", good=int(words[30]))
        return None

    def settle(self, good: int = 2) -> Traffic:
        """Wait until its server has given it so many good answers."""
        return wait_until(f"{good} answers to chronyd", lambda: (t := self.traffic()) and t.good >= good and t)

    def come_again(self, traffic: Traffic) -> None:
        """Make it forget the server that it talks to and come as a new client."""
        self._chronyc("delete", traffic.address)
        self._chronyc("add", *self.source.split())

    def go_offline(self) -> None:
        """Make it ask nobody, and keep its cookies."""
        self._chronyc("offline")

    def go_online(self) -> None:
        """Make it ask again."""
        self._chronyc("online")

    def _ask(self, *question: str) -> list[str]:
        try:
            return self._chronyc("-c", *question).split(",")
        except subprocess.CalledProcessError:
            # A source whose address changes while chronyc goes through the list is not found.
            return []

    def _chronyc(self, *command: str) -> str:
        return chronyc(self.network, self.program, self.directory, *command)


@contextmanager
def chrony_client(
    pool: Pool, host: str = "127.0.0.1", program: str = "chronyd", poll: int = -4
) -> Iterator[ChronyClient]:
    """Run a chronyd that asks the gateway at `host` for a server, and the server for the time every 2**poll seconds."""
    path, network = find(program), pool.network
    source = f"server {host} nts ntsport {pool.port} iburst minpoll {poll} maxpoll {poll}"
    with working_directory() as directory:
        (directory / "conf").write_text(
            f"{source}\nport 0\nnosystemcert\nntstrustedcerts {pool.ca}\n{chrony_paths(directory)}"
        )
        network.give(directory)
        # -x: no power over the clock; -U: so it need not be root.
        command = [path, "-u", network.user, "-U", "-x", "-d", "-f", f"{directory}/conf"]
        with running([*network.inside, *network.unprivileged, *command], directory / "log"):
            wait_until("chronyd's command socket", (directory / "run" / "chronyd.sock").exists)
            yield ChronyClient(program, source, directory, network)


@dataclass(frozen=True, slots=True)
class NtpsecClient:
    """NTPsec's ntpd that is a client of the pool."""

    directory: Path
    network: Network

    def log(self) -> str:
        """Return what it has logged so far."""
        path = self.directory / "ntp.log"
        return path.read_text() if path.exists() else ""

    def authenticates(self) -> bool:
        """Tell whether answers of its server are authenticated, by the auth column of ntpq's associations."""
        *_, last = self._ntpq("associations").splitlines()
        return "ok" in last.split()

    def server(self) -> tuple[str, int]:
        """Return whom it talks NTP to, address and port."""
        told = self._ntpq("readvar &1 srcadr,srcport")
        found = re.search(r"srcadr=(.*?), srcport=(\d+)", told)
        assert found, told
        return found[1], int(found[2])

    def counters(self) -> dict[str, int]:
        """Return how often what happened that concerns NTS, by ntpq's words for it."""
        pairs = (line.split(":") for line in self._ntpq("ntsinfo").splitlines() if line.count(":") == 1)
        return {label.strip(): int(count) for label, count in pairs}

    def _ntpq(self, command: str) -> str:
        words = [*self.network.inside, find("ntpq-ntpsec"), "-n", "-c", command, "127.0.0.1"]
        return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


@contextmanager
def ntpsec_client(pool: Pool) -> Iterator[NtpsecClient]:
    """Run NTPsec's ntpd, in the namespace that its pool is in."""
    path = find("ntpd-ntpsec")
    with working_directory() as directory:
        (directory / "conf").write_text(
            "disable ntp\ninterface ignore all\ninterface listen 127.0.0.1\nrestrict default\nrestrict 127.0.0.1\n"
            f"driftfile {directory}/drift\nlogfile {directory}/ntp.log\nnts ca {pool.ca}\n"
            f"server 127.0.0.1:{pool.port} nts iburst minpoll 0 maxpoll 3\n"
        )
        with running([*pool.network.inside, path, "-n", "-c", f"{directory}/conf"], directory / "log"):
            yield NtpsecClient(directory, pool.network)


@dataclass(frozen=True, slots=True)
class NtpdRsClient:
    """An ntpd-rs that is a client of the pool."""

    directory: Path

    def answers(self) -> int:
        """Return how many good answers it has got; each makes it log its offset."""
        return (self.directory / "log").read_text().count("Offset:")

    def source(self) -> tuple[str, int, int] | None:
        """Return whom it talks NTP to, address and port, and how many cookies it has left; None as long as nobody."""
        command = [find("ntp-ctl"), "status", "-f", "prometheus", "-c", f"{self.directory}/conf"]
        told = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
        found = re.search(r'nts_cookies_available{.*address="\[?(.*?)\]?:(\d+)".*} (\d+)', told)
        return (found[1], int(found[2]), int(found[3])) if found else None


@contextmanager
def ntpd_rs_client(pool: Pool, host: str = "127.0.0.1", servers: int = 0) -> Iterator[NtpdRsClient]:
    """Run an ntpd-rs that asks the gateway at `host`, for so many servers if any as a client of a pool."""
    mode = f'mode = "nts-pool"\ncount = {servers}\n' if servers else 'mode = "nts"\n'
    path, network = find("ntp-daemon"), pool.network
    with working_directory() as directory:
        (directory / "conf").write_text(
            f'[observability]\nlog-level = "info"\nobservation-path = "{directory}/observe.sock"\n'
            f'[[source]]\n{mode}address = "{endpoint(host, pool.port)}"\n'
            f'certificate-authority = "{pool.ca}"\n[synchronization]\nminimum-agreeing-sources = 1\n'
            "[source-defaults]\ninitial-poll-interval = 0\npoll-interval-limits = { min = 0, max = 0 }\n"
        )
        network.give(directory)
        # It insists on setting the clock, and must not.
        command = [
            *network.inside,
            sys.executable,
            str(NOCLOCK),
            *network.unprivileged,
            path,
            "-c",
            f"{directory}/conf",
        ]
        with running(command, directory / "log"):
            yield NtpdRsClient(directory)
