"""What agents that wait for keys cost gateways, and how fast they get them.    usage: python -m benches.agents

The real control ports of several gateways, each a process with the keys of all backends on its desk, and 5,000 agents
in two more processes, each a TLS client with a certificate of its own. Their certificates are signed and put on the
roster at once, not by 5,000 enrolments; their daemons are a pause between keys and report. The gateways rotate at the
same moment: what a store adds to that, benches/cluster.py measures. Takes about two minutes.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import resource
import ssl
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop

from ntspool.net import authority, enrolment
from ntspool.net.control import ControlServer
from ntspool.net.controlmessages import MAX_LENGTH, Report
from ntspool.net.keydesk import Delivery, KeyDesk
from ntspool.net.mutualtls import client_context
from ntspool.net.store import FileStore
from ntspool.net.system import set_up_logs
from ntspool.pool import keyring
from ntspool.pool.cookies import CookieFormat
from ntspool.pool.model import LogSettings
from ntspool.wire.secret import Secret

RAMP, WAITING, SPREADING = 25.0, 25.0, 30.0
"""Seconds in which agents come, in which nothing happens, and that each rotation is watched for."""

DAEMON = (5.0, 25.0)
"""Seconds that an agent needs at least and at most from new keys until its daemon has them and it tells so."""

CROWDS = 2
"""Processes of agents."""

Identities = list[tuple[str, bytes]]


def memory() -> float:
    """Return the MiB that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def allow_descriptors() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def enrol_all(store: FileStore, agents: int, backends: int) -> Identities:
    """Return every agent's backend and its private key with certificate; the store allows them all."""
    now = time.time()
    issuer, roster, made = authority.load_or_create(store, now), enrolment.Roster(), []
    for number in range(agents):
        backend, serial = f"ntp-{number % backends}.example.com", number + 1
        private, csr = authority.make_request()
        made.append((backend, private.reveal() + issuer.sign_agent(csr, backend, serial, now)))
        roster = roster.with_certificate(backend, serial, now + authority.AGENT_LIFE)
    store.put_if(enrolment.ENTRY, enrolment._encode(roster), None)  # noqa: SLF001 - 5,000 changes would take an hour
    return made


def lay_out(desk: KeyDesk, keys: keyring.Keyring, backends: int) -> None:
    """Do as KeyKeeper does."""
    deliveries = {}
    for name in (f"ntp-{number}.example.com" for number in range(backends)):
        held = keys.keys(name, CookieFormat.CHRONY)
        told = b"".join(key.id.to_bytes(4, "big") + key.secret.reveal() for key in held.keys)
        deliveries[name] = Delivery(sha256(told).hexdigest()[:16], CookieFormat.CHRONY, held)
    desk.publish(deliveries)


def run_gateway(pipe: Connection, state: Path, backends: int) -> None:
    """Be a gateway; every word from the pipe but `rotate` asks for the seconds of CPU and MiB so far."""
    allow_descriptors()
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the life of the process
    set_up_logs(LogSettings())
    asyncio.run(_gateway(pipe, state, backends))


async def _gateway(pipe: Connection, state: Path, backends: int) -> None:
    desk = KeyDesk()
    # As if shared: all gateways come to the same.
    source = random.Random(1)
    keys = keyring.create(0.0, source.randbytes)
    lay_out(desk, keys, backends)
    bare = memory()
    server = ControlServer([("127.0.0.1", 0)], FileStore(state), desk)
    await server.start()
    pipe.send(server.addresses[0])
    while True:
        word = await asyncio.to_thread(pipe.recv)
        if word == "end":
            os._exit(0)
        if word == "rotate":
            keys = keys.rotate(1.0, source.randbytes)
            lay_out(desk, keys, backends)
        else:
            pipe.send((time.process_time(), memory(), bare, len(desk.reports)))


@dataclass
class Crowd:
    """All agents; `got` is when each had keys, by the steady clock that all processes share."""

    trust: bytes
    gateways: list[tuple[str, int]]
    got: list[float] = field(default_factory=list)
    troubles: Counter[str] = field(default_factory=Counter)
    hands: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(40))

    async def ask(self, context: ssl.SSLContext, at: tuple[str, int], head: str, body: bytes = b"") -> bytes:
        # One process, unlike 5,000 machines, would shake hands so slowly with many that gateways cut it off.
        async with self.hands:
            reader, writer = await asyncio.open_connection(
                *at, ssl=context, server_hostname=authority.CONTROL_NAME, limit=MAX_LENGTH
            )
            writer.write(f"{head} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        try:
            first = await reader.readuntil(b"\r\n\r\n")
            status = first.split(b" ", 2)[1]
            if status == b"204":
                return b""
            if status != b"200":
                raise OSError(f"HTTP status {status.decode()}")
            length = next(line for line in first.split(b"\r\n") if line.lower().startswith(b"content-length"))
            return await reader.readexactly(int(length.split(b":")[1]))
        finally:
            writer.transport.abort()

    async def live(self, number: int, identity: bytes) -> None:
        """Be an agent: ask for keys, bring them to the daemon, tell, ask again; another gateway after a failure."""
        await asyncio.sleep(random.uniform(0, RAMP))
        context, after, at, tell, failures = client_context(Secret(identity), self.trust), "", number, b"", 0
        while True:
            gateway = self.gateways[at % len(self.gateways)]
            try:
                if tell:
                    await self.ask(context, gateway, "POST /v1/report", tell)
                    tell = b""
                answer = await self.ask(context, gateway, f"GET /v1/keyring{after and '?after='}{after}")
            except (OSError, EOFError) as error:
                self.troubles[type(error).__name__] += 1
                at, failures = at + 1, failures + 1
                await asyncio.sleep(random.uniform(0.5, 1.0) * 2 ** min(failures, 6))
                continue
            failures = 0
            if answer:
                self.got.append(time.monotonic())
                first, after = not after, json.loads(answer)["revision"]
                if not first:
                    await asyncio.sleep(random.uniform(*DAEMON))
                    tell = Report(after, (1, 2, 3), None).encode()


def run_agents(pipe: Connection, identities: Identities, trust: bytes, gateways: list[tuple[str, int]]) -> None:
    allow_descriptors()
    uvloop.run(_agents(pipe, identities, Crowd(trust, gateways)))


async def _agents(pipe: Connection, identities: Identities, crowd: Crowd) -> None:
    lives = [asyncio.create_task(crowd.live(number, identity)) for number, (_, identity) in enumerate(identities)]
    with suppress(EOFError):
        while await asyncio.to_thread(pipe.recv) != "end":
            pipe.send((crowd.got, crowd.troubles))
            crowd.got, crowd.troubles = [], Counter()
    print(f"agents: {memory():.0f} MiB, {len(lives)} of them")
    os._exit(0)


def ask_all(pipes: list[Connection]) -> list[tuple[float, float, float, int]]:
    for each in pipes:
        each.send("usage")
    return [each.recv() for each in pipes]


def spend(pipes: list[Connection], seconds: float) -> None:
    """Wait so long, and print what the gateways used meanwhile."""
    before, began = ask_all(pipes), time.monotonic()
    time.sleep(max(seconds, 0))
    after, took = ask_all(pipes), time.monotonic() - began
    cores = " ".join(f"{(late[0] - early[0]) / took:.3f}" for early, late in zip(before, after, strict=True))
    held = " ".join(f"{each[1]:.0f}" for each in after)
    print(f"  {took:.0f} s: {cores} cores, {held} MiB (before: {after[0][2]:.0f}), reports {[e[3] for e in after]}")


def take(crowds: list[Connection]) -> list[float]:
    """Return when agents had keys since the last time."""
    every: list[float] = []
    for each in crowds:
        each.send("told")
        got, troubles = each.recv()
        every += got
        print(f"  {len(got)} had keys; troubles {dict(troubles)}")
    return sorted(every)


def measure(pipes: list[Connection], crowds: list[Connection], agents: int, rotations: int) -> None:
    print("they come")
    come = 0
    while come < agents:
        spend(pipes, RAMP / 2)
        come += len(take(crowds))
    print("they wait")
    spend(pipes, WAITING)
    take(crowds)
    for _ in range(rotations):
        began = time.monotonic()
        for each in pipes:
            each.send("rotate")
        print("keys rotate")
        spend(pipes, SPREADING)
        spread = [each - began for each in take(crowds)]
        cuts = statistics.quantiles(spread, n=100)
        print(f"  {len(spread)} of {agents}: half {cuts[49]:.2f} s, 99 % {cuts[98]:.2f} s, the last {spread[-1]:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=5000)
    parser.add_argument("--backends", type=int, default=2000)
    parser.add_argument("--gateways", type=int, default=3)
    parser.add_argument("--rotations", type=int, default=1)
    stated = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        # One copy for all of what in a cluster each has its own of.
        state = Path(folder) / "state"
        store = FileStore(state)
        began = time.monotonic()
        identities = enrol_all(store, stated.agents, stated.backends)
        print(f"{stated.agents} certificates in {time.monotonic() - began:.0f} s")
        pipes, processes = [], []

        def start(target: object, *arguments: object) -> Connection:
            ours, theirs = spawn.Pipe()
            processes.append(spawn.Process(target=target, args=(theirs, *arguments), daemon=True))  # type: ignore[arg-type]
            processes[-1].start()
            return ours

        pipes = [start(run_gateway, state, stated.backends) for _ in range(stated.gateways)]
        addresses = [each.recv() for each in pipes]
        trust = authority.load_or_create(store, time.time()).pem
        crowds = [start(run_agents, identities[part::CROWDS], trust, addresses) for part in range(CROWDS)]
        measure(pipes, crowds, stated.agents, stated.rotations)
        for each in (*pipes, *crowds):
            each.send("end")
        for process in processes:
            process.join()


if __name__ == "__main__":
    main()
