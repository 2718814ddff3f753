"""What stands in for systemd: it hears what a service tells, opens sockets for it, and starts it with them."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence

_EXEC = """
import fcntl, os, sys
passed = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 100) for each in sys.argv[1].split(",") if each]
for at, each in enumerate(passed):
    os.dup2(each, 3 + at)
    os.close(each)
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
os.environ["LISTEN_FDS"] = str(len(passed))
os.execv(sys.argv[2], sys.argv[2:])
"""


class Systemd:
    """Hears services at `address`, a path or the name of an abstract socket with `@`; a context manager."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def __enter__(self) -> "Systemd":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def heard(self) -> list[str]:
        """All that was told so far, an assignment each."""
        while True:
            try:
                self._heard += self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return self._heard

    def said(self, assignment: str) -> int:
        """Tell how often this was told."""
        return self.heard.count(assignment)

    def launch(self, *words: object, sockets: Sequence[socket.socket] = (), **more: str) -> subprocess.Popen[str]:
        """Start `python -m ntspool WORDS` as a service; see `start`."""
        command = [sys.executable, "-m", "ntspool", *map(str, words)]
        return start(command, sockets, NOTIFY_SOCKET=self.address, **more)


def start(command: Sequence[str], sockets: Sequence[socket.socket], **environment: str) -> subprocess.Popen[str]:
    """Start a process to which `sockets` are passed; what it says is in its pipes."""
    return subprocess.Popen(
        activated(command, sockets),
        pass_fds=[each.fileno() for each in sockets],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def activated(command: Sequence[str], sockets: Sequence[socket.socket]) -> list[str]:
    """Return the words that start a process to which `sockets` are passed, which must be in their `pass_fds`."""
    return [sys.executable, "-c", _EXEC, ",".join(str(each.fileno()) for each in sockets), *command]
