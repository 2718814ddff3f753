"""The demo's backends: real time servers on loopback, each a process of its own."""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path

from ntspool.app.throwaway import Authority, utc_now
from ntspool.errors import LocalError
from ntspool.net.atomic import owners_only, write_atomically
from ntspool.pool.cookies import CookieFormat

_PATIENCE = 5.0


@dataclass(frozen=True)
class OwnKe:
    """The NTS-KE server of a backend that keeps its own keys: its port, and its files' paths."""

    port: int
    certificate: Path
    private_key: Path
    token: Path


@dataclass
class DemoBackend:
    """One backend: where it listens, and its process while it runs. `directory` holds its files and its log.

    One that has `ke` is an embedded time server whose keys nobody shares.
    """

    name: str
    addresses: tuple[str, ...]
    port: int
    cookies: CookieFormat
    directory: Path
    ke: OwnKe | None = None
    process: asyncio.subprocess.Process | None = field(default=None, init=False)

    @property
    def key_file(self) -> Path:
        """Where the backend looks for its keys."""
        return self.directory / ("ntskeys" if self.cookies is CookieFormat.CHRONY else "keys")

    async def load_keys(self, contents: bytes) -> None:
        """Give the backend a key file, and make it load that if it runs; what an agent or Ansible would do."""
        write_atomically(self.key_file, contents, owners_only(self.directory))
        if self.process is not None and self.cookies is CookieFormat.CHRONY:
            await _run(*_as_nobody(), _find("chronyc"), "-h", f"{self.directory}/chronyd.sock", "rekey")

    async def start(self) -> None:
        """Start the process; it answers a moment later."""
        command = self._chronyd() if self.cookies is CookieFormat.CHRONY else [*self._timeserver(), *self._ke()]
        with (self.directory / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )

    async def stop(self) -> None:
        """End the process, if it runs."""
        process, self.process = self.process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(_PATIENCE):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()

    def _timeserver(self) -> list[str]:
        listen = [f"--listen={_bracketed(address)}:{self.port}" for address in self.addresses]
        return [sys.executable, "-m", "ntspool", "timeserver", *listen, f"--keys={self.key_file}", "--stratum=3"]

    def _ke(self) -> list[str]:
        if self.ke is None:
            return []
        listen = [f"--ke-listen={_bracketed(address)}:{self.ke.port}" for address in self.addresses]
        pair = [f"--certificate={self.ke.certificate}", f"--private-key={self.ke.private_key}"]
        return ["--own-keys", *listen, *pair, f"--tokens={self.ke.token}"]

    def _chronyd(self) -> list[str]:
        # chronyd serves NTS only with a certificate of its own, though clients never see it.
        certificate, key = Authority.make(utc_now()).issue(["localhost"], [], self.directory, utc_now())
        binds = "\n".join(f"bindaddress {address}" for address in self.addresses)
        (self.directory / "chrony.conf").write_text(
            f"{binds}\nport {self.port}\nallow all\nlocal stratum 3\ncmdport 0\n"
            f"bindcmdaddress {self.directory}/chronyd.sock\npidfile {self.directory}/chronyd.pid\n"
            f"ntsdumpdir {self.directory}\nntsrotate 0\nntsport {free_port([self.addresses[0]])}\n"
            f"ntsservercert {certificate}\nntsserverkey {key}\n"
        )
        self.directory.chmod(0o770)
        if os.geteuid() == 0:
            for path in (self.directory, *self.directory.iterdir()):
                os.chown(path, _NOBODY.pw_uid, _NOBODY.pw_gid)
        user = pwd.getpwuid(self.directory.stat().st_uid).pw_name
        # -x: the demo must not touch the clock; -U: chronyd need not be root for that.
        return [*_as_nobody(), _find("chronyd"), "-u", user, "-U", "-x", "-d", "-f", f"{self.directory}/chrony.conf"]


def has_ipv6() -> bool:
    """Tell whether ::1 can be used here."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def free_port(addresses: list[str], preferred: int = 0) -> int:
    """Return a port that is free on every address, for TCP and UDP: the preferred one if it is."""
    for candidate in (preferred, *([0] * 32)):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            port = candidate
            for address in addresses:
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    port = _bind(stack, address, kind, port)
            return port
    raise LocalError(f"no port is free on {', '.join(addresses)}")


def _bind(stack: contextlib.ExitStack, address: str, kind: socket.SocketKind, port: int) -> int:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    probe = stack.enter_context(socket.socket(family, kind))
    # A port whose last connections are still in TIME_WAIT is free for a server.
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, kind == socket.SOCK_STREAM)
    probe.bind((address, port))
    return int(probe.getsockname()[1])


_NOBODY = pwd.getpwuid(65534)


def _as_nobody() -> list[str]:
    """Return the words that start a program without root's rights, which no part of the demo needs."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={_NOBODY.pw_uid}", f"--regid={_NOBODY.pw_gid}", "--clear-groups"]


def installed(program: str) -> str | None:
    """Return the path of a program, or None; on Debian chronyd's folder is not on every user's PATH."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")


def _find(program: str) -> str:
    path = installed(program)
    if path is None:
        raise LocalError(f"{program} is not installed; install chrony, or leave out --backends chrony")
    return path


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    if await process.wait():
        raise LocalError(f"{command[-1]}: exit status {process.returncode}")


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
