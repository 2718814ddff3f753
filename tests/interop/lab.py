"""Where daemons and gateways of a test run, and how: on loopback, without any power over the clock."""

import itertools
import os
import pwd
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest

DEADLINE = 60.0
"""Seconds after which what should come counts as not coming, however little of the machine is ours."""

NOBODY = 65534

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Network:
    """The words that start a program `inside` a network, and after them those that start it as `user`, unprivileged.

    `owner` is that user's id on disk. Sockets of a network namespace come out of it through `door`.
    """

    inside: tuple[str, ...]
    unprivileged: tuple[str, ...]
    user: str
    owner: int
    door: socket.socket | None = None

    def give(self, directory: Path) -> None:
        """Make a directory, with all that is in it, belong to the user whom daemons run as."""
        if os.geteuid() == 0:
            for path in (directory, *directory.rglob("*")):
                os.chown(path, self.owner, self.owner)

    def udp(self, address: str, port: int) -> socket.socket:
        """Return a UDP socket in this network, connected to an address there."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        if self.door is None:
            udp = socket.socket(family, socket.SOCK_DGRAM)
        else:
            self.door.send(bytes([family]))
            _, descriptors, *_ = socket.recv_fds(self.door, 1, 1)
            udp = socket.socket(fileno=descriptors[0])
        udp.connect((address, port))
        return udp


def here() -> Network:
    """Return this machine's own network; root's daemons run there as nobody."""
    if os.geteuid():
        return Network((), (), pwd.getpwuid(os.geteuid()).pw_name, os.geteuid())
    drop = (find("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    return Network((), drop, pwd.getpwuid(NOBODY).pw_name, NOBODY)


# A socket stays in the network namespace where it was made, whoever uses it.
_DOORKEEPER = """
import socket, subprocess, sys
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
with socket.socket(fileno=int(sys.argv[1])) as door:
    door.send(b"!")
    while family := door.recv(1):
        with socket.socket(family[0], socket.SOCK_DGRAM) as udp:
            socket.send_fds(door, [family], [udp.fileno()])
"""


@contextmanager
def namespace() -> Iterator[Network]:
    """Make a network with nothing but loopback, where port 123 is free; skips the test where that is not granted."""
    # The root of a user namespace may bind port 123 there, but set no clock.
    with kept([find("unshare"), "--user", "--map-root-user", "--net"]) as (network, _):
        yield network


@contextmanager
def kept(command: Sequence[str]) -> Iterator[tuple[Network, int]]:
    """Keep a network that `command` makes, and yield it with the id of the process that keeps it.

    Skips the test where that is not granted.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            words = [*command, sys.executable, "-c", _DOORKEEPER, str(theirs.fileno())]
            keeper = subprocess.Popen(words, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE)
        with keeper:
            if not ours.recv(1):
                pytest.skip(f"this machine grants no network namespace: {keeper.communicate()[1].decode().strip()}")
            target = f"--target={keeper.pid}"
            enter = (find("nsenter"), target, "--user", "--net", "--preserve-credentials", "--")
            try:
                yield Network(enter, (), "root", os.geteuid(), ours), keeper.pid
            finally:
                ours.shutdown(socket.SHUT_RDWR)


def find(program: str) -> str:
    """Return the path of a program, or skip the test because it is not there.

    Programs that Debian does not install are looked for in the folder `bin` of the directory NTSPOOL_DAEMONS.
    """
    folders = [os.environ["PATH"], "/usr/sbin", os.environ.get("NTSPOOL_DAEMONS", "/usr") + "/bin"]
    path = shutil.which(program, path=os.pathsep.join(folders))
    if path is None:
        pytest.skip(f"{program} is neither installed nor in the directory that NTSPOOL_DAEMONS names")
    return path


def _own_ports() -> Iterator[int]:
    """Return ports that no other process of this test run gives out, in random order, each again only after the rest.

    A port is used some time after it was found free, at worst minutes: those of modules, when they are imported. They
    are below those that client's sockets are given by chance.
    """
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = range(10000 + number % _PROCESSES, 32768, _PROCESSES)
    return itertools.cycle(random.sample(ports, len(ports)))


_PROCESSES = 12
_ports = _own_ports()


def free_port(*addresses: str) -> int:
    """Return a port that is free just now on every address, and that nobody else of this test run is given."""
    for port in _ports:
        try:
            for address in addresses:
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as probe:
                        probe.bind((address, port))
        except OSError:
            continue
        return port
    raise AssertionError


def wait_until(what: str, condition: Callable[[], T | Literal[False] | None], deadline: float = DEADLINE) -> T:
    """Return what `condition` returns once that is true; fails the test when that takes longer than `deadline`."""
    began = time.monotonic()
    end = began + deadline
    while not (result := condition()):
        now = time.monotonic()
        assert now < end, f"waited {deadline:g} s in vain for {what}"
        # Asking must not take the time that what is waited for needs.
        time.sleep(max(0.02, now - began))
        began = time.monotonic()
    return result


@contextmanager
def working_directory() -> Iterator[Path]:
    """Make a directory for one process, and remove it in the end."""
    # Not pytest's tmp_path: its parent keeps out nobody, whom the daemons run as when the tests are root's.
    with tempfile.TemporaryDirectory(prefix="ntspool-") as directory:
        yield Path(directory)


@contextmanager
def running(command: Sequence[str], log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process, its output in the file `log`, and end it in the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
