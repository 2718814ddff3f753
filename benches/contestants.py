"""The servers that are compared: each context manager starts one, pinned to a core, and ends it."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PATIENCE = 30.0


@dataclass(frozen=True)
class Place:
    """Where a comparison runs: its scratch folder, the tools' folder, cores of server and client.

    A gateway has `more_certificates`, each with its key, beside the tools' own.
    """

    directory: Path
    tools: Path
    server_cores: str
    client_cores: str
    more_certificates: tuple[tuple[Path, Path], ...] = ()

    @property
    def certificate(self) -> Path:
        return self.tools / "cert.pem"

    @property
    def key(self) -> Path:
        return self.directory / "key.pem"

    def copy_key(self) -> None:
        """Copy the tools' private key to where only its owner can read it, as servers want it."""
        self.key.touch(0o600)
        self.key.write_bytes((self.tools / "key.pem").read_bytes())


@dataclass(frozen=True)
class Running:
    """A server that runs: what it is, its process (children are counted with it) and its port."""

    name: str
    pid: int
    port: int


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"{process.args} does not serve:\n{log.read_text()[-2000:]}")


@contextmanager
def started(words: Sequence[object], cores: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as out:
        process = subprocess.Popen(["taskset", "-c", cores, *map(str, words)], stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def served(name: str, words: Sequence[object], place: Place, port: int) -> Iterator[Running]:
    log = place.directory / f"{name.split(maxsplit=1)[0]}.log"
    with started(words, place.server_cores, log) as process:
        wait_for(port, process, log)
        yield Running(name, process.pid, port)


@contextmanager
def c_server(place: Place, workers: int = 1, program: str = "cserver", name: str = "C") -> Iterator[Running]:
    port = free_port()
    suites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"
    pair = ["-c", place.certificate, "-k", place.key]
    command = [place.tools / program, "-p", port, "-n", workers, *pair, "-s", suites]
    with served(name, command, place, port) as running:
        yield running


def c_server_4(place: Place, workers: int = 1) -> AbstractContextManager[Running]:
    """The same, built with the OpenSSL that the wheel of cryptography brings."""
    return c_server(place, workers, "cserver4", "C, OpenSSL 4.0")


@contextmanager
def chronyd(place: Place, workers: int = 1) -> Iterator[Running]:
    port, directory = free_port(), place.directory / "chronyd"
    directory.mkdir(mode=0o700, exist_ok=True)
    config = directory / "chrony.conf"
    config.write_text(
        f"port 0\ncmdport 0\nbindaddress 127.0.0.1\nallow all\nlocal stratum 3\nbindcmdaddress /\n"
        f"pidfile {directory}/pid\nntsdumpdir {directory}\nntsport {port}\nntsservercert {place.certificate}\n"
        f"ntsserverkey {place.key}\nntsprocesses {workers}\nmaxntsconnections 512\nclientloglimit 100000000\n"
    )
    program = shutil.which("chronyd", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "chronyd"
    version = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stdout.split()[3]
    with served(f"chronyd {version}", [program, "-x", "-d", "-u", "root", "-f", config], place, port) as running:
        yield running


@contextmanager
def ntpsec(place: Place) -> Iterator[Running]:
    port = 4460  # NTPsec has no directive for another.
    config = place.directory / "ntpsec.conf"
    config.write_text(
        f"nts enable\nnts cert {place.certificate}\nnts key {place.key}\nnts cookie {place.directory}/ntpsec-keys\n"
        "interface ignore wildcard\ninterface listen 127.0.0.1\nserver 127.127.1.0\n"
    )
    program = os.environ.get("NTPD_NTPSEC") or "ntpd"
    with served("NTPsec", [program, "-n", "-N", "-c", config], place, port) as running:
        yield running


@contextmanager
def baseline(place: Place) -> Iterator[Running]:
    port = free_port()
    words = [sys.executable, HERE / "baseline.py", port, place.certificate, place.key]
    with served("Python, plain", words, place, port) as running:
        yield running


@contextmanager
def gateway(
    place: Place, workers: int = 1, backends: int = 2, interval: str = "5s", python: str = sys.executable
) -> Iterator[Running]:
    """The product as it is installed: control process, workers, probes, and time servers that are UP."""
    name = f"ntspool, {tls_library(python)}"
    directory = place.directory / f"pool-{workers}-{backends}-{name.replace(' ', '-')}"
    directory.mkdir(mode=0o700, exist_ok=True)
    port, ntp_port, config = free_port(), free_port(), directory / "backends.yaml"
    names = [f"ntp-{number}" for number in range(1, backends + 1)]
    listed = "".join(
        f"  - {{name: {name}, address: 127.1.{at // 250}.{at % 250 + 1}, port: {ntp_port}, cookies: ntspool, "
        f"key_group: all}}\n"
        for at, name in enumerate(names)
    )
    pairs = [(place.certificate, place.key), *place.more_certificates]
    tls = ", ".join(f"{{certificate: {certificate}, key: {key}}}" for certificate, key in pairs)
    config.write_text(
        f"pool: {{names: [localhost]}}\nlisten: ['127.0.0.1:{port}']\nworkers: {workers}\n"
        f"tls: [{tls}]\nstate: {directory}/state\n"
        f"health: {{interval: {interval}, timeout: 1s, rise: 1, fall: 3}}\nlog: {{format: json}}\nbackends:\n{listed}"
        # One address that may have all: the limits are asked, and turn nobody away.
        "limits: {sessions: 20000, session_timeout: 60s, per_address: {sessions: 20000, rate: 1000000, burst: 100000}, "
        "per_network: {sessions: 20000, rate: 1000000, burst: 1000000}}\n"
    )
    keys = directory / "keys"
    ours = [python, "-m", "ntspool"]
    subprocess.run([*ours, "keys", "export", "ntp-1", "-c", config, "-o", keys], check=True, stdout=subprocess.DEVNULL)
    listens = [f"--listen=127.1.{at // 250}.{at % 250 + 1}:{ntp_port}" for at in range(backends)]
    log = directory / "gateway.log"
    with ExitStack() as stack:
        backend = [*ours, "timeserver", *listens, f"--keys={keys}", "--stratum=3"]
        stack.enter_context(started(backend, place.client_cores, directory / "timeserver.log"))
        time.sleep(1.0)
        process = stack.enter_context(started([*ours, "serve", "-c", config], place.server_cores, log))
        wait_for(port, process, log)
        end = time.monotonic() + PATIENCE
        while '"event": "serving"' not in log.read_text():
            if time.monotonic() > end:
                raise SystemExit(log.read_text()[-2000:])
            time.sleep(0.05)
        yield Running(name, process.pid, port)


def tls_library(python: str) -> str:
    """Return the TLS library of an interpreter's cryptography, and its version."""
    # Not by a function of ours: what is profiled may be a checkout from before it.
    ask = "from OpenSSL import SSL; print(SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode())"
    told = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout
    return " ".join(told.split()[:2])


def gateway_awslc(place: Place, workers: int = 1) -> AbstractContextManager[Running]:
    """The product by the interpreter that NTSPOOL_AWSLC names, whose cryptography is built on AWS-LC."""
    if "NTSPOOL_AWSLC" not in os.environ:
        raise SystemExit("NTSPOOL_AWSLC names no interpreter; see docs/awslc.md")
    return gateway(place, workers, python=os.environ["NTSPOOL_AWSLC"])
