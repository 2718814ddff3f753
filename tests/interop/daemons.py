"""Real time servers for tests, on loopback and without any power over the clock.

`chronyd`, `ntpd_rs` and `ntpsec` are context managers that yield a `Daemon` once it serves time and stop it at the
end. They skip the test, saying why, when the program is missing. Programs that Debian does not install are looked
for in the folder `bin` of the directory that NTSPOOL_DAEMONS names.
"""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

DEADLINE = 15.0
NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running time server; its configuration, log and keys are in `directory`.

    `udp` is connected to its NTP port. NTPsec's is in a network namespace where only this socket reaches it.
    """

    program: str
    process: subprocess.Popen[bytes]
    directory: Path
    key_file: Path
    address: str
    port: int
    udp: socket.socket

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
        chronyc = find(self.program.replace("chronyd", "chronyc"))
        words = [chronyc, "-n", "-h", f"{self.directory}/run/chronyd.sock", *command]
        return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, **_as_nobody()).stdout


def find(program: str) -> str:
    """Return the path of a program, or skip the test because it is not there."""
    folders = [os.environ["PATH"], "/usr/sbin"]
    if daemons := os.environ.get("NTSPOOL_DAEMONS"):
        folders.append(f"{daemons}/bin")
    path = shutil.which(program, path=os.pathsep.join(folders))
    if path is None:
        pytest.skip(f"{program} is neither installed nor in the directory that NTSPOOL_DAEMONS names")
    return path


def free_port(address: str, kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """Return a port of `address` that is free just now."""
    with socket.socket(_family(address), kind) as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


@contextmanager
def chronyd(
    keys: bytes | None = None,
    program: str = "chronyd",
    address: str = "127.0.0.1",
    port: int | None = None,
    extra: str = "",
) -> Iterator[Daemon]:
    """Run chronyd as an NTS server; `keys` is its key file's content, `extra` more lines of configuration.

    With `program="chronyd-new"` it is a chronyd newer than 4.4, which Debian bookworm's 4.3 is not. For other keys
    replace `key_file` and call `chronyc("rekey")`. Its NTS-KE server has a self-signed certificate for localhost.
    """
    path = find(program)
    port = port or free_port(address)
    with _directory() as directory:
        key_file = directory / "keys" / "ntskeys"
        (directory / "keys").mkdir(mode=0o700)
        (directory / "run").mkdir(mode=0o770)
        _self_signed(directory)
        _write_keys(key_file, keys)
        (directory / "conf").write_text(
            f"port {port}\nbindaddress {address}\nallow all\nlocal stratum 5\n"
            f"cmdport 0\nbindcmdaddress {directory}/run/chronyd.sock\npidfile {directory}/run/chronyd.pid\n"
            f"ntsdumpdir {directory}/keys\nntsrotate 0\nntsport {free_port(address, socket.SOCK_STREAM)}\n"
            f"ntsservercert {directory}/tls.crt\nntsserverkey {directory}/tls.key\n{extra}\n"
        )
        user = pwd.getpwuid(_give_to_nobody(directory)).pw_name
        family = "-6" if _family(address) is socket.AF_INET6 else "-4"
        command = [path, family, "-u", user, "-U", "-x", "-d", "-f", f"{directory}/conf"]
        with _running(command, directory, **_as_nobody()) as process, _connect(address, port) as udp:
            yield _answering(Daemon(program, process, directory, key_file, address, port, udp))


@contextmanager
def ntpd_rs(keys: bytes | None = None, address: str = "127.0.0.1", port: int | None = None) -> Iterator[Daemon]:
    """Run ntpd-rs as an NTS server without NTS-KE; `keys` is its key file's content, which it rewrites at start."""
    path = find("ntp-daemon")
    port = port or free_port(address)
    with _directory() as directory:
        key_file = directory / "keys"
        _write_keys(key_file, keys)
        host = f"[{address}]" if _family(address) is socket.AF_INET6 else address
        (directory / "conf").write_text(
            f'[observability]\nlog-level = "info"\n[synchronization]\nlocal-stratum = 5\n'
            f'[[server]]\nlisten = "{host}:{port}"\n'
            f'[keyset]\nkey-storage-path = "{key_file}"\nkey-rotation-interval = 4294967295\n'
        )
        _give_to_nobody(directory)
        command = [path, "-c", f"{directory}/conf"]
        with _running(command, directory, **_as_nobody()) as process, _connect(address, port) as udp:
            yield _answering(Daemon("ntp-daemon", process, directory, key_file, address, port, udp))


# NTPsec's NTP port is always 123, so it gets a network of its own; a socket stays in the one where it was made.
_IN_NAMESPACE = """
import os, socket, subprocess, sys
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
with socket.socket(fileno=int(sys.argv[1])) as channel, socket.socket(type=socket.SOCK_DGRAM) as udp:
    udp.connect(("127.0.0.1", 123))
    socket.send_fds(channel, [b"udp"], [udp.fileno()])
os.execv(sys.argv[2], sys.argv[2:])
"""


@contextmanager
def ntpsec(keys: bytes | None = None) -> Iterator[Daemon]:
    """Run NTPsec's ntpd as an NTS server in a network namespace of its own; `keys` is its key file's content."""
    path = find("ntpd-ntpsec")
    # The root of a user namespace may bind port 123 there, but set no clock.
    unshare = [find("unshare"), "--user", "--map-root-user", "--net"]
    if subprocess.run([*unshare, find("ip"), "link"], capture_output=True, check=False).returncode:
        pytest.skip("NTPsec needs port 123 and so a network namespace, which this machine does not grant")
    ours, theirs = socket.socketpair()
    with _directory() as directory, ours, theirs:
        key_file = directory / "keys"
        _self_signed(directory)
        _write_keys(key_file, keys)
        (directory / "conf").write_text(
            f"disable ntp\ninterface ignore all\ninterface listen 127.0.0.1\ndriftfile {directory}/drift\n"
            f"nts enable\nnts cert {directory}/tls.crt\nnts key {directory}/tls.key\nnts cookie {key_file}\n"
            "tos orphan 5 orphanwait 0\nrestrict default\n"
        )
        inside = [sys.executable, "-c", _IN_NAMESPACE, str(theirs.fileno())]
        command = [*unshare, *inside, path, "-n", "-c", f"{directory}/conf"]
        with _running(command, directory, pass_fds=[theirs.fileno()]) as process:
            theirs.close()
            _, descriptors, *_ = socket.recv_fds(ours, 8, 1)
            assert descriptors, (directory / "log").read_text()
            with socket.socket(fileno=descriptors[0]) as udp:
                yield _answering(Daemon("ntpd-ntpsec", process, directory, key_file, "127.0.0.1", 123, udp))


@contextmanager
def _running(command: Sequence[str], directory: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answering(daemon: Daemon) -> Daemon:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline and daemon.process.poll() is None:
        response = daemon.exchange(b"\x23" + bytes(39) + os.urandom(8), timeout=0.2)
        if response is not None and response[1]:  # the stratum, zero as long as it does not serve time
            return daemon
        time.sleep(0.05)
    raise AssertionError(f"{daemon.program} serves no time:\n{daemon.log()}")


def _connect(address: str, port: int) -> socket.socket:
    udp = socket.socket(_family(address), socket.SOCK_DGRAM)
    udp.connect((address, port))
    return udp


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@contextmanager
def _directory() -> Iterator[Path]:
    # Not pytest's tmp_path: its parent keeps out nobody, whom the daemons run as when the tests are root's.
    with tempfile.TemporaryDirectory(prefix="ntspool-") as directory:
        yield Path(directory)


def _give_to_nobody(directory: Path) -> int:
    if os.geteuid() == 0:
        for path in (directory, *directory.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    return directory.stat().st_uid


def _as_nobody() -> dict[str, Any]:
    return {"user": NOBODY, "group": NOBODY, "extra_groups": ()} if os.geteuid() == 0 else {}


def _write_keys(key_file: Path, keys: bytes | None) -> None:
    if keys is not None:
        key_file.touch(mode=0o600)
        key_file.write_bytes(keys)


def _self_signed(directory: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name.from_rfc4514_string("CN=localhost")
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    (directory / "tls.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    (directory / "tls.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
