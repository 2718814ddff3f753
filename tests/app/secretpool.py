"""A pool in which every kind of secret is in use: gateway, agent and two time servers, each a process that keeps a log.

`sharing` is a backend that an agent carries keys to, `own` one that keeps its own. The keyring is encrypted, and an
update of the DNS is signed that nobody takes.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ntspool.app import enrol, export
from ntspool.net.atomic import write_atomically
from ntspool.net.keyexchange import Server, exchange_keys
from ntspool.net.sealed import Seal
from ntspool.pool.cookies import CookieFormat
from ntspool.pool.keyfiles import parse
from ntspool.wire.messages import Request, Response
from ntspool.wire.secret import Secret
from tests import secrecy
from tests.interop.lab import free_port
from tests.processes import end_workers, workers_of

DEADLINE = 60.0
FAULTS, AGENT_FAULTS = "fault", "agent-fault"
FAULTY = Path(__file__).parent / "faulty"
TSIG = b"a key that the name server knows"
TOKEN = os.urandom(24).hex()
KEY_ENCRYPTION_KEY = os.urandom(32).hex().encode()
ADDRESSES = {"sharing": "127.0.0.41", "own": "127.0.0.42"}


@dataclass
class SecretPool:
    """What runs, by name, and the secrets that the test itself had to do with; `held` are all files that have some."""

    directory: Path
    pki: object
    ports: dict[str, int]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    met: dict[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def config(self) -> Path:
        return self.directory / "backends.yaml"

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def held(self) -> list[Path]:
        names = ("privkey.pem", "token", "tokens", "tsig", "kek", "sharing.keys", "own.keys", "agent/identity")
        return [self.directory / name for name in (*names, "ke/privkey.pem")]

    @property
    def pids(self) -> list[int]:
        return [each.pid for each in self.processes.values()] + sorted(workers_of(self.state))

    def secrets(self) -> dict[str, bytes]:
        """Return all that there is now and was before."""
        found = secrecy.of_state(self.state, ADDRESSES, Seal(Secret(KEY_ENCRYPTION_KEY)))
        for name in ("privkey.pem", "ke/privkey.pem"):
            found[name] = secrecy.private_key((self.directory / name).read_bytes())
        if (identity := self.directory / "agent/identity").exists():
            found["agent's key"] = secrecy.private_key(json.loads(identity.read_text())["private"].encode())
        own = parse(CookieFormat.NTSPOOL, (self.directory / "own.keys").read_bytes())
        found |= {f"own key {each.id}": each.secret.reveal() for each in own.keys}
        found |= {"token": TOKEN.encode(), "TSIG": TSIG, "key-encryption key": KEY_ENCRYPTION_KEY}
        self.met |= found
        return self.met

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def wait(self, what: str, condition) -> None:
        end = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < end, f"waited in vain for {what}"
            time.sleep(0.05)

    def up(self) -> bool:
        return all(f'"backend": "{name}", "address"' in self.log("gateway") for name in ADDRESSES) and (
            self.log("gateway").count('"event": "backend UP"') >= len(ADDRESSES)
        )

    def session(self, backend: str) -> None:
        """Be a client of a backend once, and remember the keys, if there are any."""
        server = Server("127.0.0.1", self.ports["ke"], f"{backend}.test", self.pki.ca)
        exchange = asyncio.run(exchange_keys(server, Request((0,), (15,)), 10.0))
        if isinstance(exchange.reply, Response):
            number = len(self.met)
            self.met[f"c2s {number}"] = exchange.association.c2s.reveal()
            self.met[f"s2c {number}"] = exchange.association.s2c.reveal()
            self.met[f"cookie {number}"] = exchange.reply.cookies[0][20:]

    def new_token(self) -> str:
        token = enrol.new_token(self.config, "sharing").reveal().decode()
        # The first bytes of it are the secret, the others tell the authority.
        self.met[f"enrolment {len(self.met)}"] = token.removeprefix("ntspool1-")[:21].encode()
        return token

    def start_agent(self, name: str) -> None:
        words = (
            "--state",
            self.directory / "agent",
            "--daemon",
            "ntspool",
            "--key-file",
            self.directory / "sharing.keys",
        )
        ntp = f"{ADDRESSES['sharing']}:{self.ports['ntp']}"
        self.start(name, "agent", *words, "--ntp", ntp, fault=AGENT_FAULTS)

    def start(self, name: str, *words: object, fault: str = FAULTS) -> None:
        path = os.pathsep.join(filter(None, [str(FAULTY), os.environ.get("PYTHONPATH")]))
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "ntspool", *map(str, words)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": path, "NTSPOOL_FAULT": str(self.directory / fault)},
                cwd=self.directory,
            )


def _lay_out(directory: Path, pki) -> SecretPool:
    wanted = ("ke", "control", "status", "ntp", "own ke")
    ports = {name: free_port("127.0.0.1", *ADDRESSES.values()) for name in wanted}
    pool = SecretPool(directory, pki, ports)
    names = ["localhost", *(f"{name}.test" for name in ADDRESSES)]
    pki.authority.issue(names, ["127.0.0.1"], directory, datetime.now(UTC))
    (directory / "ke").mkdir()
    pki.authority.issue(["localhost"], [ADDRESSES["own"]], directory / "ke", datetime.now(UTC))
    write_atomically(directory / "token", TOKEN.encode())
    write_atomically(directory / "tokens", TOKEN.encode())
    write_atomically(directory / "kek", KEY_ENCRYPTION_KEY)
    secret = subprocess.run(["base64", "-w0"], input=TSIG, stdout=subprocess.PIPE, check=True).stdout.decode()
    write_atomically(directory / "tsig", f'key "k" {{ algorithm hmac-sha256; secret "{secret}"; }};\n'.encode())
    own = f"{{token: {directory}/token, ca: {pki.ca}, port: {ports['own ke']}}}"
    pool.config.write_text(
        f"pool: {{names: [localhost]}}\nlisten: ['127.0.0.1:{ports['ke']}']\nworkers: 1\n"
        f"tls: [{{certificate: {directory}/fullchain.pem, key: {directory}/privkey.pem}}]\nstate: {directory}/state\n"
        f"keys: {{encryption_key: {directory}/kek, life: 1s}}\ncontrol: {{listen: ['127.0.0.1:{ports['control']}']}}\n"
        f"status: {{listen: ['127.0.0.1:{ports['status']}']}}\n"
        "health: {interval: 300ms, timeout: 290ms, rise: 1, fall: 6, panic: 100}\n"
        "log: {level: debug, format: json, client_addresses: true}\n"
        f"dns: {{publish: {{server: '127.0.0.1:{ports['ntp']}', key: {directory}/tsig, zone: localhost, "
        "addresses: [192.0.2.1]}}\n"
        "pins: {sharing.test: sharing, own.test: own}\n"
        "limits: {per_address: {sessions: off, rate: off}, per_network: {sessions: off, rate: off}}\nbackends:\n"
        f"  - {{name: sharing, address: {ADDRESSES['sharing']}, port: {ports['ntp']}, cookies: ntspool}}\n"
        f"  - {{name: own, address: {ADDRESSES['own']}, port: {ports['ntp']}, cookies: fixed-key, ke: {own}}}\n"
    )
    return pool


@contextmanager
def secret_pool(directory: Path, pki):
    """Run such a pool, from when every backend is UP; its processes fail as `faulty` has it, once there is
    a file FAULTS, agents once there are AGENT_FAULTS.
    """
    pool = _lay_out(directory, pki)
    export.write(directory / "sharing.keys", export.key_file(pool.config, "sharing"))
    with ExitStack() as stack:
        stack.callback(_end, pool)
        ntp = pool.ports["ntp"]
        listen = f"{ADDRESSES['sharing']}:{ntp}"
        pool.start("sharing", "timeserver", "--listen", listen, "--keys", directory / "sharing.keys")
        pool.start(
            "own",
            *("timeserver", "--listen", f"{ADDRESSES['own']}:{ntp}", "--own-keys", "--keys", directory / "own.keys"),
            *("--ke-listen", f"{ADDRESSES['own']}:{pool.ports['own ke']}", "--tokens", directory / "tokens"),
            *("--certificate", directory / "ke/fullchain.pem", "--private-key", directory / "ke/privkey.pem"),
        )
        pool.start("gateway", "serve", "--config", pool.config)
        pool.wait("the gateway to serve", lambda: '"event": "serving"' in pool.log("gateway"))
        _enrol(pool)
        pool.start_agent("agent")
        pool.wait("the agent to report", lambda: '"event": "agent reports"' in pool.log("gateway"))
        pool.wait("the backends to be UP", pool.up)
        yield pool


def _enrol(pool: SecretPool) -> None:
    token = pool.new_token()
    words = ("agent", "enroll", "-", "--gateway", f"127.0.0.1:{pool.ports['control']}", "--state")
    command = [sys.executable, "-m", "ntspool", *words, str(pool.directory / "agent")]
    done = subprocess.run(command, input=token, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    write_atomically(pool.directory / "enrol.log", (done.stdout + done.stderr).encode())


def _end(pool: SecretPool) -> None:
    for each in pool.processes.values():
        each.kill()
        each.wait()
    end_workers(pool.state)
