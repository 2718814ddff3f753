"""A gateway as it is installed, with its default limits, and what is seen of it from outside while it is attacked."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from ntspool.app import export
from ntspool.app.throwaway import Authority
from ntspool.net.busy import Busy
from tests.abuse.scenarios import EVERYWHERE, Scenario
from tests.interop.lab import free_port, running, wait_until
from tests.processes import end_workers, workers_of

BACKEND = "127.0.0.20"
SETTLED = 20.0
"""Seconds in which everything must be as before once the attack is over: the sessions' deadline, and something."""

NEAR = 12.0
"""Megabytes more than before that count as the same."""

_MEGABYTE = 1e6
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Scene:
    """What runs: the gateway's files and ports, and its only worker."""

    directory: Path
    port: int
    proxied_port: int
    status_port: int

    @property
    def ca(self) -> Path:
        return self.directory / "ca.pem"

    @property
    def key_file(self) -> Path:
        return self.directory / "keys"

    @property
    def log(self) -> Path:
        return self.directory / "log"

    def serves(self) -> bool:
        text = self.log.read_text()
        return '"backend UP"' in text and '"serving"' in text

    def worker(self) -> int:
        (pid,) = workers_of(self.directory / "state")
        return pid

    def memory(self, pid: int) -> float:
        """Return a process's resident megabytes."""
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / _MEGABYTE

    def descriptors(self, pid: int) -> int:
        return len(os.listdir(f"/proc/{pid}/fd"))

    def busy(self, pid: int) -> Busy:
        """Return for how long a process ran, and waited for a core."""
        ran, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
        return Busy(int(ran) / 1e9, int(waited) / 1e9)

    def counters(self) -> Counter[tuple[str, str]]:
        """Return how many clients were turned away and how sessions ended, by metric and label."""
        with urlopen(f"http://127.0.0.1:{self.status_port}/metrics", timeout=20) as answer:
            text = answer.read().decode()
        wanted = {"ntspool_clients_turned_away_total", "ntspool_sessions_total", "ntspool_session_failures_total"}
        return Counter(
            {
                (sample.name, next(iter(sample.labels.values()))): int(sample.value)
                for family in text_string_to_metric_families(text)
                for sample in family.samples
                if sample.name in wanted
            }
        )


@dataclass(frozen=True)
class Seen:
    """How it went: megabytes of the worker, descriptors, lines of the log, what was counted, what attackers did."""

    healthy: Counter[str]
    p99: float
    before: float
    peak: float
    after: float
    descriptors: tuple[int, int]
    lines: int
    counted: Counter[tuple[str, str]]
    rate: float
    sent: int
    busy: Busy

    @property
    def served(self) -> float:
        """The part of the healthy clients that got cookies that open."""
        return self.healthy["ok"] / self.healthy.total()

    def labels(self, metric: str) -> dict[str, int]:
        """Return what a metric has counted by its label."""
        return {label: count for (name, label), count in self.counted.items() if name == f"ntspool_{metric}_total"}


@contextmanager
def scene(directory: Path, limits: str = "{}") -> Iterator[Scene]:
    """Run a gateway and a backend; from when they serve."""
    authority, now = Authority.make(datetime.now(UTC)), datetime.now(UTC)
    set_up = Scene(directory, free_port("127.0.0.1"), free_port("127.0.0.1"), free_port("127.0.0.1"))
    authority.write(set_up.ca)
    chain, key = authority.issue(["localhost"], ["127.0.0.1"], directory, now)
    ntp_port, config = free_port(BACKEND), directory / "backends.yaml"
    config.write_text(
        f"pool: {{names: [localhost]}}\nworkers: 1\ntls: [{{certificate: {chain}, key: {key}}}]\n"
        f"listen: ['127.0.0.1:{set_up.port}', "
        f"{{address: '127.0.0.1:{set_up.proxied_port}', proxy_from: [127.250.0.0/24]}}]\n"
        f"status: {{listen: ['127.0.0.1:{set_up.status_port}']}}\nstate: {directory}/state\nlog: {{format: json}}\n"
        f"limits: {limits}\n"
        "health: {interval: 500ms, timeout: 450ms, rise: 1, fall: 20}\n"
        f"backends: [{{name: ntp-1, address: {BACKEND}, port: {ntp_port}, cookies: ntspool}}]\n"
    )
    export.write(set_up.key_file, export.key_file(config, "ntp-1"))
    ours = [sys.executable, "-m", "ntspool"]
    backend = [*ours, "timeserver", f"--listen={BACKEND}:{ntp_port}", f"--keys={set_up.key_file}", "--stratum=3"]
    try:
        with (
            running(backend, directory / "timeserver.log"),
            running([*ours, "serve", f"--config={config}"], set_up.log) as gateway,
        ):
            wait_until("the gateway to serve", lambda: set_up.serves() or gateway.poll() is not None)
            assert gateway.poll() is None, set_up.log.read_text()
            yield set_up
    finally:
        end_workers(directory / "state")


def play(set_up: Scene, attackers: Sequence[list[object]], rate: float, clients: int) -> Seen:
    """Have the `attackers` attack while so many healthy clients come, `rate` a second; then see all come back."""
    worker, began_lines = set_up.worker(), set_up.log.read_bytes().count(b"\n")
    busy = set_up.busy(worker)
    before, descriptors, counted = set_up.memory(worker), set_up.descriptors(worker), set_up.counters()
    with _peak(lambda: set_up.memory(worker)) as peak, attacking(attackers) as attacks:
        with _started(_healthy(set_up, rate, clients)) as healthy:
            went = json.loads(healthy.stdout.readline())
        did = [end(each) for each in attacks]
    with suppress(AssertionError):
        wait_until(
            "all to be as before",
            lambda: set_up.descriptors(worker) <= descriptors and set_up.memory(worker) <= before + NEAR,
            SETTLED,
        )
    time.sleep(1.5)  # the worker's last tally, and what is shown of it
    return Seen(
        healthy=Counter(went["outcomes"]),
        p99=went["p99"],
        before=before,
        peak=max(peak),
        after=set_up.memory(worker),
        descriptors=(descriptors, set_up.descriptors(worker)),
        lines=set_up.log.read_bytes().count(b"\n") - began_lines,
        counted=set_up.counters() - counted,
        rate=sum(each["opened"] / each["seconds"] for each in did),
        sent=sum(each["sent"] for each in did),
        busy=set_up.busy(worker) - busy,
    )


def attackers(set_up: Scene, scenario: Scenario, processes: int, network: str, part: float = 1.0) -> list[list[object]]:
    """Return the commands of so many processes that attack, together with a `part` of the scenario's connections.

    An attack that comes from one network comes from this one.
    """
    port = set_up.proxied_port if scenario.proxied else set_up.port
    found: list[list[object]] = []
    for number in range(processes):
        where = f"{EVERYWHERE}{number * 4000}" if scenario.everywhere else network
        window, rate = max(1, int(scenario.window * part / processes)), scenario.rate * part / processes
        found.append(["tests.abuse.attack", scenario.attack, port, where, window, rate, scenario.pace])
    return found


@contextmanager
def attacking(attackers: Sequence[list[object]]) -> Iterator[list[subprocess.Popen[str]]]:
    """Run the attackers; from when they have opened all their connections once."""
    with ExitStack() as stack:
        processes = [stack.enter_context(_started(each)) for each in attackers]
        for each in processes:
            assert each.stdout.readline() == "attacking\n"
        yield processes


def _healthy(set_up: Scene, rate: float, clients: int) -> list[object]:
    return ["tests.abuse.healthy", set_up.port, set_up.ca, set_up.key_file, rate, clients]


@contextmanager
def _started(words: Sequence[object]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", *map(str, words)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def end(process: subprocess.Popen[str]) -> dict:
    """Tell a process to end, and return what it tells."""
    told, _ = process.communicate(timeout=60)
    return json.loads(told)


@contextmanager
def _peak(measure) -> Iterator[list[float]]:
    """Measure ten times a second meanwhile; yields what was measured, so far and in the end."""
    done, measured = threading.Event(), [measure()]

    def go_on() -> None:
        while not done.wait(0.1):
            measured.append(measure())

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield measured
    finally:
        done.set()
        thread.join()
