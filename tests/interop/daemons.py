"""Real time servers for tests, each a context manager that yields a Daemon once it serves time.

`keys` is the content of a daemon's key file. `addresses` and `port` are where it listens; `network` is this
machine's own unless another is given. A test is skipped, saying why, where the program is missing.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from socket import socket

from ntspool.app.throwaway import Authority
from ntspool.net.keyexchange import DEFAULT_KE_PORT
from tests.interop.lab import DEADLINE, Network, find, free_port, here, namespace, running, working_directory

LOCALHOST = ("127.0.0.1",)
NOCLOCK = Path(__file__).with_name("noclock.py")


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running time server; its configuration, log and keys are in `directory`, `udp` is connected to it.

    If it has an NTS-KE server, that is at `ke_port`, and `ca.pem` in `directory` is the authority of its certificate.
    """

    program: str
    process: subprocess.Popen[bytes]
    directory: Path
    key_file: Path
    network: Network
    udp: socket
    ke_port: int | None = None

    def log(self) -> str:
        """Return what the daemon has printed so far."""
        return (self.directory / "log").read_text(errors="replace")

    def exchange(self, request: bytes, timeout: float = 2.0) -> bytes | None:
        """Send an NTP request and return the response to it; None when none comes in `timeout` seconds."""
        deadline = time.monotonic() + timeout
        try:
            self.udp.send(request)
            while True:
                self.udp.settimeout(max(0.001, deadline - time.monotonic()))
                response = self.udp.recv(65536)
                # A response repeats its request's transmit timestamp as origin; others come late.
                if response[24:32] == request[40:48]:
                    return response
        except (TimeoutError, ConnectionRefusedError):
            return None

    def chronyc(self, *command: str) -> str:
        """Run one chronyc command over chronyd's command socket and return what it prints."""
        return chronyc(self.network, self.program, self.directory, *command)

    def authenticated(self) -> int:
        """Return how many NTS-protected requests this chronyd has accepted since its start."""
        return int(self.chronyc("-c", "serverstats").split(",")[_NTS_PACKETS])


_NTS_PACKETS = 7


@dataclass(frozen=True, slots=True)
class OwnKe:
    """The NTS-KE server of a daemon that keeps its own keys: at `port` of its addresses, for whom has `token`.

    `authority` vouches for it, by its addresses and as localhost.
    """

    authority: Authority
    token: str
    port: int

    def certificate(self, directory: Path, addresses: Sequence[str]) -> tuple[Path, Path]:
        """Write its certificate and private key into `directory`, and return their paths; ca.pem is what to trust."""
        self.authority.write(directory / "ca.pem")
        return self.authority.issue(["localhost"], addresses, directory, datetime.now(UTC))


def chronyc(network: Network, program: str, directory: Path, *command: str) -> str:
    """Run a command of the chronyc that belongs to the chronyd `program` in `directory`; return what it prints."""
    path = find(program.replace("chronyd", "chronyc"))
    words = [*network.inside, *network.unprivileged, path, "-n", "-h", f"{directory}/run/chronyd.sock", *command]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


@contextmanager
def chronyd(
    keys: bytes | None = None,
    program: str = "chronyd",
    addresses: Sequence[str] = LOCALHOST,
    port: int | None = None,
    network: Network | None = None,
    extra: str = "",
    local: bool = True,
) -> Iterator[Daemon]:
    """Run chronyd as an NTS server; `extra` is more lines of configuration.

    With `program="chronyd-new"` it is a chronyd newer than 4.4, which Debian bookworm's 4.3 is not. For other keys
    replace `key_file` and call `chronyc("rekey")`. Its NTS-KE server has a certificate of its own for localhost. If
    it is not `local`, it has no time but that of the sources in `extra`.
    """
    path, network, port = find(program), network or here(), port or free_port(*addresses)
    # Another network has addresses that this one has not, and all its ports are free.
    ke_port = free_port(*(() if network.door else addresses))
    with working_directory() as directory:
        certificate, key = _certificate(directory)
        binds = "\n".join(f"bindaddress {address}" for address in addresses)
        (directory / "conf").write_text(
            f"port {port}\n{binds}\nallow all\n{chrony_paths(directory)}"
            f"{'local stratum 5' if local else ''}\n"
            f"ntsdumpdir {directory}/keys\nntsrotate 0\nntsport {ke_port}\n"
            f"ntsservercert {certificate}\nntsserverkey {key}\n{extra}\n"
        )
        key_file = directory / "keys" / "ntskeys"
        key_file.parent.mkdir(mode=0o700)
        _write_keys(key_file, keys)
        # -x: no power over the clock; -U: so it need not be root.
        command = [path, *_families(addresses), "-u", network.user, "-U", "-x", "-d", "-f", f"{directory}/conf"]
        serving = _serving(program, command, directory, key_file, network, addresses[0], port, timeless=not local)
        with serving as daemon:
            yield replace(daemon, ke_port=ke_port)


def chrony_paths(directory: Path) -> str:
    """Return the lines that keep a chronyd's files and sockets in `directory`, where they are made."""
    (directory / "run").mkdir(mode=0o770)
    return f"cmdport 0\nbindcmdaddress {directory}/run/chronyd.sock\npidfile {directory}/run/chronyd.pid\n"


@contextmanager
def ntpd_rs(
    keys: bytes | None = None,
    addresses: Sequence[str] = LOCALHOST,
    port: int | None = None,
    network: Network | None = None,
    source: str | None = None,
    deny: str | None = None,
    ke: OwnKe | None = None,
) -> Iterator[Daemon]:
    """Run ntpd-rs as an NTS server, without NTS-KE unless it has `ke`; it rewrites its key file at start.

    It calls itself unsynchronised unless it has a `source`, the HOST:PORT of another time server. Clients of the
    network `deny` it answers by the kiss-o'-death DENY.
    """
    path, network, port = find("ntp-daemon"), network or here(), port or free_port(*addresses)
    with working_directory() as directory:
        key_file = directory / "keys"
        _write_keys(key_file, keys)
        # It would not follow a source that is no better than itself.
        local_stratum = 15 if source else 5
        denied = f'denylist = {{ filter = ["{deny}"], action = "deny" }}\n' if deny else ""
        listen = "".join(f'[[server]]\nlisten = "{endpoint(address, port)}"\n{denied}' for address in addresses)
        (directory / "conf").write_text(
            f'[observability]\nlog-level = "info"\n'
            f"[synchronization]\nlocal-stratum = {local_stratum}\nminimum-agreeing-sources = 1\n"
            f"{listen}[source-defaults]\ninitial-poll-interval = 0\npoll-interval-limits = {{ min = 0, max = 2 }}\n"
            f'[keyset]\nkey-storage-path = "{key_file}"\nkey-rotation-interval = 4294967295\n'
            + (f'[[source]]\nmode = "server"\naddress = "{source}"\n' if source else "")
            + (_ntpd_rs_ke(ke, directory, addresses, port) if ke else "")
        )
        # With a source it insists on setting the clock, and must not.
        noclock = [sys.executable, str(NOCLOCK)] if source else []
        command = [path, "-c", f"{directory}/conf"]
        serving = _serving(
            "ntp-daemon", command, directory, key_file, network, addresses[0], port, noclock, timeless=bool(deny)
        )
        with serving as daemon:
            yield replace(daemon, ke_port=ke.port if ke else None)


def _ntpd_rs_ke(ke: OwnKe, directory: Path, addresses: Sequence[str], port: int) -> str:
    certificate, key = ke.certificate(directory, addresses)
    return "".join(
        f'[[nts-ke-server]]\nlisten = "{endpoint(address, ke.port)}"\nntp-port = {port}\n'
        f'certificate-chain-path = "{certificate}"\nprivate-key-path = "{key}"\n'
        f'accepted-pool-authentication-tokens = ["{ke.token}"]\n'
        for address in addresses
    )


@contextmanager
def ntpsec(
    keys: bytes | None = None,
    addresses: Sequence[str] = LOCALHOST,
    port: int = 123,
    network: Network | None = None,
) -> Iterator[Daemon]:
    """Run NTPsec's ntpd as an NTS server, in a network namespace since its port can only be 123."""
    path = find("ntpd-ntpsec")
    with ExitStack() as stack:
        network = network or stack.enter_context(namespace())
        directory = stack.enter_context(working_directory())
        certificate, key = _certificate(directory)
        key_file = directory / "keys"
        _write_keys(key_file, keys)
        listen = "\n".join(f"interface listen {address}" for address in addresses)
        (directory / "conf").write_text(
            f"disable ntp\ninterface ignore all\n{listen}\ndriftfile {directory}/drift\n"
            f"nts enable\nnts cert {certificate}\nnts key {key}\nnts cookie {key_file}\n"
            "tos orphan 5 orphanwait 0\nrestrict 127.0.0.1\n"
        )
        command = [path, "-n", "-c", f"{directory}/conf"]
        serving = _serving("ntpd-ntpsec", command, directory, key_file, network, addresses[0], port)
        yield replace(stack.enter_context(serving), ke_port=DEFAULT_KE_PORT)


@contextmanager
def timeserver(
    keys: bytes | None = None,
    addresses: Sequence[str] = LOCALHOST,
    port: int | None = None,
    network: Network | None = None,
    ke: OwnKe | None = None,
) -> Iterator[Daemon]:
    """Run our own embedded time server, which makes its keys itself if it has `ke`."""
    network, port = network or here(), port or free_port(*addresses)
    with working_directory() as directory:
        key_file = directory / "keys"
        _write_keys(key_file, keys)
        words = [f"--listen={endpoint(address, port)}" for address in addresses] + [f"--keys={key_file}"]
        words += _timeserver_ke(ke, directory, addresses) if ke else []
        command = [*network.inside, sys.executable, "-m", "ntspool", "timeserver", *words]
        with running(command, directory / "log") as process, network.udp(addresses[0], port) as udp:
            yield _answering(Daemon("ntspool", process, directory, key_file, network, udp))


def _timeserver_ke(ke: OwnKe, directory: Path, addresses: Sequence[str]) -> list[str]:
    certificate, key = ke.certificate(directory, addresses)
    tokens = directory / "tokens"
    tokens.touch(mode=0o600)
    tokens.write_text(ke.token)
    listen = [f"--ke-listen={endpoint(address, ke.port)}" for address in addresses]
    return ["--own-keys", *listen, f"--certificate={certificate}", f"--private-key={key}", f"--tokens={tokens}"]


def endpoint(address: str, port: int) -> str:
    """Return an address and a port in one word, an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@contextmanager
def _serving(
    program: str,
    command: Sequence[str],
    directory: Path,
    key_file: Path,
    network: Network,
    address: str,
    port: int,
    wrapper: Sequence[str] = (),
    timeless: bool = False,
) -> Iterator[Daemon]:
    network.give(directory)
    words = [*network.inside, *wrapper, *network.unprivileged, *command]
    with running(words, directory / "log") as process, network.udp(address, port) as udp:
        yield _answering(Daemon(program, process, directory, key_file, network, udp), timeless)


def _answering(daemon: Daemon, timeless: bool = False) -> Daemon:
    """Return the daemon once it answers: with the time, unless it may have none."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline and daemon.process.poll() is None:
        response = daemon.exchange(b"\x23" + bytes(39) + os.urandom(8), timeout=0.2)
        if response is not None and (timeless or response[1]):  # the stratum, zero as long as it does not serve time
            return daemon
        time.sleep(0.05)
    raise AssertionError(f"{daemon.program} serves no time:\n{daemon.log()}")


def _families(addresses: Sequence[str]) -> list[str]:
    if all(":" in address for address in addresses):
        return ["-6"]
    return [] if any(":" in address for address in addresses) else ["-4"]


def _certificate(directory: Path) -> tuple[Path, Path]:
    now = datetime.now(UTC)
    authority = Authority.make(now)
    authority.write(directory / "ca.pem")
    return authority.issue(["localhost"], [], directory, now)


def _write_keys(key_file: Path, keys: bytes | None) -> None:
    if keys is not None:
        key_file.touch(mode=0o600)
        key_file.write_bytes(keys)
