"""The operator of a soak: rotations, reloads, drains and killed workers, in turn, each written down as it happens."""

import csv
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benches.soak_figures import Cut
from ntspool.app.adminclient import call
from ntspool.errors import RemoteError
from tests.interop.lab import wait_until
from tests.interop.rotating import Rotating
from tests.processes import alive

COMER = "ntp-12"
"""The backend that is removed and added again."""

WEIGHED = "ntp-2"
"""The backend whose weight changes."""

DRAINED = ("ntp-3", "ntp-5", "ntp-9", "ntp-1")
"""The backends that are drained in turn."""


def started(pid: int) -> int:
    """Return when a process began, in ticks since the machine's start; one that is gone began never."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return sys.maxsize


@dataclass
class Operator:
    """Works until `ends` (monotonic seconds), in cycles of so many seconds; each begins with a rotation.

    `events` is the file where it writes down what it did, `kills` are the workers it killed, `failed` counts what did
    not go as it must.
    """

    site: Rotating
    cycle: float
    began: float
    ends: float
    events: Path
    kills: list[Cut] = field(default_factory=list)
    failed: int = 0
    rotations: int = 0

    def run(self) -> None:
        """Do what there is to do, each at its time in the cycle."""
        number = int((self.ends - self.began) / self.cycle)
        for cycle in range(number):
            begins, drained = self.began + cycle * self.cycle, DRAINED[cycle % len(DRAINED)]
            duties: list[tuple[float, str, Callable[[], str]]] = [
                (0.0, "rotate", self.rotate),
                # Early: a rotation waits for a backend that is back as for one that is new, for `life`.
                (0.1, "remove", lambda: self.site.ntspool("backend", "remove", COMER)),
                (0.2, "add", self.add),
                (0.3, "weight", lambda cycle=cycle: self.weigh(20 if cycle % 2 == 0 else 10)),
                (0.4, "drain", lambda name=drained: self.site.ntspool("backend", "drain", name)),
                (0.515, "kill", self.kill),
                (0.6, "reload", lambda: self.site.ntspool("reload")),
                (0.7, "ready", lambda name=drained: self.site.ntspool("backend", "ready", name)),
            ]
            if cycle in (1, number - 2):
                duties.append((0.8, "reload --workers", lambda: self.site.ntspool("reload", "--workers")))
            for at, name, duty in duties:
                time.sleep(max(0.0, begins + at * self.cycle - time.monotonic()))
                self.do(name, duty)

    def do(self, name: str, duty: Callable[[], str]) -> None:
        """Do one thing, and write down what came of it."""
        began = time.monotonic()
        try:
            said = duty()
        except Exception as error:  # whatever it is, the soak goes on and its verdict tells
            self.failed += 1
            name, said = f"{name} FAILED", repr(error)
        self.note(name, f"{' '.join(said.split())[:300]} ({time.monotonic() - began:.2f} s)")

    def note(self, name: str, words: str) -> None:
        """Write a line of events."""
        with self.events.open("a", newline="") as file:
            csv.writer(file).writerow([f"{time.monotonic() - self.began:.1f}", name, words])

    def rotate(self) -> str:
        """Rotate the keys; a rotation that is refused is tried again for a while."""
        ends, refusals = time.monotonic() + 0.09 * self.cycle, 0
        while refused := self.site.try_to_rotate():
            refusals += 1
            if time.monotonic() > ends:
                raise RuntimeError(f"no rotation: {refused}")
            time.sleep(1.0)
        self.rotations += 1
        return f"epoch {self.site.current()} after {refusals} refusals"

    def weigh(self, weight: int) -> str:
        """Change a weight in backends.yaml, which reloads."""
        return self.site.ntspool("backend", "set", WEIGHED, f"weight={weight}")

    def add(self) -> str:
        """Add the backend that was removed; its agent is enrolled still and brings it the keys."""
        member = self.site.pool.members[COMER]
        options = [f"--port={member.port}", f"--cookies={member.cookies}"]
        said = self.site.ntspool("backend", "add", COMER, *member.addresses, *options)
        wait_until(f"{COMER} to be UP", lambda: COMER in self.site.minting(), 60)
        return said

    def kill(self) -> str:
        """Kill the younger worker; the elder one is watched for its memory. A client that comes then must be served."""
        status = call(self.site.pool.directory / "state" / "admin.sock", "GET", "/v1/status")
        pid = max(status["workers"]["pids"], key=started)
        killed = time.monotonic()
        self.kills.append(Cut(killed, float("inf")))
        os.kill(pid, signal.SIGKILL)
        wait_until("the worker to be gone", lambda: not alive(pid), 10)
        self.kills[-1] = Cut(killed, time.monotonic())
        given = [wait_until("a client to be served", self.visit, 20) for _ in range(3)]
        return f"worker {pid}, {status['sessions']['open']} sessions open in all; the next clients got {given}"

    def visit(self) -> str | None:
        """Be a client; return the backend it got, None if it was turned away and shall come again."""
        try:
            return self.site.pool.session()
        except RemoteError as error:
            if "reset" not in str(error):
                raise
            self.note("turned away", str(error))
            time.sleep(1.0)
            return None
