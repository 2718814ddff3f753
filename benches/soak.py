"""Soak a gateway: 90 minutes of load at a share of its capacity while its operator is never idle.

    python -m benches.soak --kebench DIR DIRECTORY

Two workers, twelve backends with their agents (eight chronyds and four of our time servers), the load client: all on
one core. A line of figures.csv is written every ten seconds and events.csv as things happen, into DIRECTORY. Exits
with 1 if a rule was broken. docs/soak.md tells what is done, what counts as what, and how it went.

The load client is kebench's loadgen with --every, which is not part of this repository; DIR is the folder where it was
built.
"""

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benches.soak_figures import Broken, Row, count, verdict
from benches.soak_operator import Operator, started
from ntspool.app.adminclient import call
from tests.interop.clients import ChronyClient, chrony_client
from tests.interop.daemons import chronyd, timeserver
from tests.interop.lab import find, free_port, running, wait_until
from tests.interop.load import NO_ANSWER, STOCK, Load, Plan
from tests.interop.pool import Member, Pool, laid_out
from tests.interop.rotating import Rotating, unkeyed

EVERY = 10
"""Seconds from one line of figures to the next."""

WINDOWS, WINDOW = 4, 3
"""How often the capacity is measured, and for how many seconds."""

LIFE = 0.7
"""How long a cookie can be spent, in parts of the time from one rotation to the next."""

CHRONYDS, TIMESERVERS = 8, 4
POLLS = (0, 2, 4)
"""How often the chronyds that are clients ask for the time: every 2**poll seconds."""

HEALTH = "{interval: 4s, timeout: 1s, rise: 2, fall: 3}"
ANSWERED = 2
"""The state of a session, as the load client tells it, in which it waits for the server's first byte."""

PAGE = os.sysconf("SC_PAGE_SIZE")


def members() -> list[Member]:
    kinds = [(chronyd, "chrony")] * CHRONYDS + [(timeserver, "ntspool")] * TIMESERVERS
    return [
        Member(f"ntp-{number}", (f"127.0.0.{10 + number}",), run, cookies)
        for number, (run, cookies) in enumerate(kinds, 1)
    ]


@contextmanager
def site(life: float, core: int) -> Iterator[Rotating]:
    """Run a gateway on a core, backends and agents, from when all are UP under the keys that their agents brought."""
    with laid_out(members(), health=HEALTH) as pool, ExitStack() as stack:
        control = free_port("127.0.0.1")
        with pool.config.open("a") as file:
            file.write(f'keys: {{rotate: off, life: {life:g}s}}\ncontrol: {{listen: ["127.0.0.1:{control}"]}}\n')
        # Each in a session of its own, or Linux (autogroup) would give all of them together the share of one.
        program = (find("setsid"), sys.executable, "-m", "ntspool")
        rotating = Rotating(pool, life, control, stack, program=program)
        for each in pool.members.values():
            # Our time server does not start without a key file; chronyd makes keys of its own and waits for ours.
            stack.enter_context(unkeyed(pool, each) if each.cookies == "chrony" else pool.daemon(each.name))
        with on_core(core):
            rotating.start_gateway()
        with ThreadPoolExecutor(4) as several:
            list(several.map(rotating.enroll, pool.members))
        for name in pool.members:
            rotating.start_agent(name)
        wait_until("all backends to be UP", lambda: rotating.minting().keys() == pool.members.keys(), 120)
        yield rotating


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Have what is started meanwhile, and what that starts, run on this core alone."""
    elsewhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, elsewhere)


@dataclass
class Sampler:
    """Makes a line of figures out of what all parts tell."""

    operator: Operator
    clients: Sequence[ChronyClient]
    verifying: Load
    output: Path
    load: int
    turned_away: int
    broken: list[Broken] = field(default_factory=list)
    read: int = 0
    fresh: deque[dict[str, float]] = field(default_factory=deque)
    past: tuple[float, float, float] = (0.0, 0.0, 0.0)
    cpu: tuple[int, ...] = ()

    def load_lines(self) -> Iterator[dict[str, float]]:
        """Return the lines that the load client has told since the last time."""
        with self.output.open() as file:
            file.seek(self.read)
            text = file.read()
        whole = text[: text.rfind("\n") + 1]
        self.read += len(whole)
        for line in map(json.loads, whole.splitlines()):
            if "error" in line:
                self.broken.append(Broken(line["error"], line["state"] > ANSWERED, line["began"], line["ended"]))
            else:
                yield line

    def row(self, told: dict[str, float], core: int) -> Row:
        site = self.operator.site
        status = call(site.pool.directory / "state" / "admin.sock", "GET", "/v1/status")
        at, began, done = self.past
        self.past = told["at"], told["started"], told["done"]
        took = told["at"] - (at or self.operator.began)
        counts = count(self.broken, self.operator.kills)
        row = {
            "seconds": round(told["at"] - self.operator.began, 1),
            "offered": round((told["started"] - began) / took, 1),
            "served": round((told["done"] - done) / took, 1),
            "started": told["started"],
            "done": told["done"],
            "failed": counts["failed"],
            "cut": counts["cut"],
            "turned_away": counts["turned away"],
            "unserved": told["started"] - told["done"] - told["open"] - told["errors"],
            "p50_ms": told["p50_ms"],
            "p99_ms": told["p99_ms"],
            "max_ms": told["max_ms"],
            "told_turned_away": sum(status["sessions"]["turned_away"].values()) - self.turned_away,
            "open": status["sessions"]["open"],
            "epoch": next(each["epoch"] for each in status["keys"]["epochs"] if each["state"] == "current"),
            "up": sum(each["state"] == "UP" for each in status["backends"]),
            "deaths": status["workers"]["deaths"],
            "operations_failed": self.operator.failed,
            **self.verified(),
            **self.chrony(),
            **self.machine(core, status["workers"]["pids"]),
        }
        for group, pids in self.processes(status["workers"]["pids"]).items():
            row[f"{group}_mib"] = round(sum(map(memory, pids)), 2)
            row[f"{group}_fds"] = sum(map(descriptors, pids))
        row["worker_pid"] = min(status["workers"]["pids"], key=started)
        return row

    def processes(self, pids: list[int]) -> dict[str, list[int]]:
        site = self.operator.site
        daemons: dict[str, list[int]] = {"chrony": [], "ntspool": []}
        for member in site.pool.members.values():
            daemons[member.cookies].append(site.pool.daemons[member.name].process.pid)
        return {
            "control": [site.processes["gateway"].pid],
            "worker": [min(pids, key=started)],
            "workers": pids,
            "agents": [process.pid for name, process in site.processes.items() if name != "gateway"],
            "timeservers": daemons["ntspool"],
            "chronyds": daemons["chrony"],
        }

    def verified(self) -> dict[str, float]:
        """Return how the verifying clients fare; their clock is Unix's."""
        report, shift = self.verifying.report(), time.time() - time.monotonic()
        causes = [cause for *_, cause in report.failures]
        naks, lost = sum("NTSN" in each or "NAK" in each for each in causes), causes.count(NO_ANSWER)
        # They tell when they came, and how it ended; one that is turned away is told so at once.
        resets = ("reset" in words or "closed" in words for _, words in report.refusals)
        broken = [
            Broken("eof" if reset else "other", False, when - shift, when - shift)
            for reset, (when, _) in zip(resets, report.refusals, strict=True)
        ]
        counts = count(broken, self.operator.kills)
        return {
            "answered": report.answered.total(),
            "exchanges": report.sessions,
            "naks": naks,
            "lost": lost,
            "wrong": len(causes) - naks - lost,
            "refused": counts["failed"],
            "refused_cut": counts["cut"],
            "refused_turned_away": counts["turned away"],
        }

    def chrony(self) -> dict[str, float]:
        told = [wait_until("chronyd to tell", each.auth) for each in self.clients]
        return {
            "chrony_rekeys": sum(each.key_id - 1 for each in told),
            "chrony_naks": sum(each.naks for each in told),
        }

    def machine(self, core: int, workers: Sequence[int]) -> dict[str, float]:
        """Return which parts of the core were idle, stolen and spent by others since the last time."""
        line = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith(f"cpu{core} "))
        ours = spent(self.operator.site.processes["gateway"].pid, dead=True) + spent(self.load)
        ours += sum(spent(pid) for pid in workers)
        now = (*map(int, line.split()[1:9]), ours)
        past, self.cpu = self.cpu or now, now
        took = [b - a for a, b in zip(past, now, strict=True)]
        whole = sum(took[:8]) or 1
        idle, stolen, ours = ((took[3] + took[4]) / whole, took[7] / whole, took[8] / whole)
        others = max(0.0, 1 - idle - stolen - ours)
        return {"idle": round(idle, 3), "stolen": round(stolen, 3), "ours": round(ours, 3), "others": round(others, 3)}


def spent(pid: int, *, dead: bool = False) -> int:
    """Return the ticks of CPU that a process has spent, with its dead children if asked."""
    with suppress(OSError):
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, words[11 : 15 if dead else 13]))
    return 0


def memory(pid: int) -> float:
    """Return the MiB that a process holds, 0 when it is gone."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 2**20
    return 0.0


def descriptors(pid: int) -> int:
    with suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))
    return 0


@contextmanager
def verified(pool: Pool, clients: int, life: float) -> Iterator[Load]:
    """Run clients that spend their cookies at their backends, most of them late, from when each has come."""
    backends = {f"{each.addresses[0]} {each.port}": (each.name, each.cookies) for each in pool.members.values()}
    report = pool.directory / "load.json"
    plan = Plan(pool.port, str(pool.ca), clients, life / (STOCK + 2), 1.0, life, backends, str(report))
    words = [sys.executable, "-m", "tests.interop.load", json.dumps(asdict(plan))]
    with running(words, pool.directory / "load.log", start_new_session=True):
        verifying = Load(plan)
        wait_until("all clients", lambda: report.exists() and verifying.report().sessions >= clients, 120)
        yield verifying


def capacities(loadgen: Sequence[str]) -> list[float]:
    """Return how many sessions a second are served when as many are wanted as there can be, several times."""
    words = [*loadgen, "-c", "64", "-w", "0.5", "-t", str(WINDOW), "--json"]
    told = [
        subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, start_new_session=True).stdout
        for _ in range(WINDOWS)
    ]
    return [float(json.loads(each)["rate"]) for each in told]


def soak(options: argparse.Namespace, stack: ExitStack) -> tuple[list[Row], int]:
    """Run it all; return the figures, and how many rotations there were to be."""
    # Backends, agents, operators are other machines: whatever they do, it does not take the gateway's core from it.
    os.sched_setaffinity(0, os.sched_getaffinity(0) - {options.core} or {options.core})
    cycle, seconds = options.rotate, options.minutes * 60
    rotating = stack.enter_context(site(LIFE * cycle, options.core))
    pool = rotating.pool
    stack.callback(keep_logs, pool.directory, options.directory)
    loadgen = [str(options.kebench / "loadgen"), "-a", f"127.0.0.1:{pool.port}"]
    clients = [stack.enter_context(chrony_client(pool, poll=poll)) for poll in POLLS]
    for each in clients:
        each.settle()
    with on_core(options.core):
        can = capacities(loadgen)
    # The least: the machine may have as little again, and what is wanted is a load that it can bear.
    rate = options.rate or min(can) * options.share
    measured = f"capacity {[round(each) for each in can]} sessions/s, {rate:.0f} offered"
    print(measured, flush=True)
    verifying = stack.enter_context(verified(pool, options.clients, LIFE * cycle))
    output = options.directory / "load.jsonl"
    words = [
        *loadgen,
        "-r",
        f"{rate:.1f}",
        "-c",
        "2000",
        "-w",
        "0",
        "-t",
        str(seconds),
        f"--every={EVERY}",
        "--timeout=20",
    ]
    status = call(pool.directory / "state" / "admin.sock", "GET", "/v1/status")
    turned_away = sum(status["sessions"]["turned_away"].values())
    began = time.monotonic()
    with on_core(options.core):
        process = stack.enter_context(running(words, output, start_new_session=True))
    operator = Operator(
        rotating,
        cycle,
        began,
        began + seconds,
        options.directory / "events.csv",
        "ntp-12",
        ("ntp-3", "ntp-5", "ntp-9", "ntp-1"),
        "ntp-2",
    )
    operator.note("capacity", measured)
    sampler = Sampler(operator, clients, verifying, output, process.pid, turned_away)
    working = threading.Thread(target=operator.run, daemon=True)
    working.start()
    rows = list(sample(sampler, process, options))
    working.join(60)
    return rows, int(seconds / cycle)


def sample(sampler: Sampler, process: subprocess.Popen[bytes], options: argparse.Namespace) -> Iterator[Row]:
    """Yield a line of figures for each that the load client tells, until it ends, and write them down."""
    with (options.directory / "figures.csv").open("w", newline="", buffering=1) as file:
        writer = None
        while True:
            ended = process.poll() is not None
            for told in sampler.load_lines():
                row = sampler.row(told, options.core)
                writer = writer or csv.DictWriter(file, row.keys())
                if not file.tell():
                    writer.writeheader()
                writer.writerow(row)
                yield row
            if ended:
                return
            time.sleep(0.2)


def keep_logs(source: Path, target: Path) -> None:
    """Keep what gateway and agents logged, but for the line of each session."""
    for path in [*source.glob("log*"), *source.glob("*.log*")]:
        with path.open() as lines, (target / f"log-{path.name}").open("w") as kept:
            kept.writelines(line for line in lines if '"event": "session"' not in line)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--kebench", type=Path, default=os.environ.get("KEBENCH"), help="folder of the built tools")
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--share", type=float, default=0.7, help="of the capacity, which is measured first")
    parser.add_argument("--rate", type=float, help="sessions a second in place of a share")
    parser.add_argument("--rotate", type=float, default=300, help="seconds from one rotation to the next")
    parser.add_argument("--clients", type=int, default=300, help="that verify the time they get")
    parser.add_argument("--core", type=int, default=0)
    options = parser.parse_args()
    # Whoever ends it, nothing stays behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    options.directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        rows, rotations = soak(options, stack)
    rules = verdict(rows, rotations)
    lines = [f"{'kept  ' if kept else 'BROKEN'} {words}" for kept, words in rules]
    (options.directory / "verdict.txt").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0 if all(kept for kept, _ in rules) else 1


if __name__ == "__main__":
    sys.exit(main())
