"""Soak a gateway: 90 minutes of load at a share of its capacity while its operator is never idle.

    python -m benches.soak --kebench DIR DIRECTORY

A gateway with two workers and the load client share one core; twelve backends with their agents (eight chronyds and
four of our time servers), clients that verify and the operator's commands have the others. A line of figures.csv is
written every ten seconds and events.csv as things happen, into DIRECTORY. Exits with 1 if a rule was broken.
docs/soak.md tells what is done, what counts as what, and how it went.

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
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from benches.soak_figures import Row, verdict
from benches.soak_operator import Operator
from benches.soak_sampler import Sampler
from ntspool.app.adminclient import call
from tests.interop.clients import chrony_client
from tests.interop.daemons import chronyd, timeserver
from tests.interop.lab import find, free_port, running, wait_until
from tests.interop.load import Load, planned
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


@contextmanager
def verified(pool: Pool, clients: int, life: float) -> Iterator[Load]:
    """Run clients that spend their cookies at their backends, most of them late, from when each has come."""
    plan = planned(pool, clients, life, fresh=1.0)
    report = Path(plan.report)
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
    """Run it all; return the figures, and how many rotations there were."""
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
    words = [*loadgen, *f"-r {rate:.1f} -c 2000 -w 0 -t {seconds:g} --every={EVERY} --timeout=20".split()]
    status = call(pool.directory / "state" / "admin.sock", "GET", "/v1/status")
    turned_away = sum(status["sessions"]["turned_away"].values())
    began = time.monotonic()
    with on_core(options.core):
        process = stack.enter_context(running(words, output, start_new_session=True))
    operator = Operator(rotating, cycle, began, began + seconds, options.directory / "events.csv")
    operator.note("capacity", measured)
    sampler = Sampler(operator, clients, verifying, output, process.pid, turned_away)
    working = threading.Thread(target=operator.run, daemon=True)
    working.start()
    rows = list(sample(sampler, process, options))
    working.join(60)
    return rows, operator.rotations


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
    rules = verdict(rows, rotations, int(options.minutes * 60 / options.rotate))
    lines = [f"{'kept  ' if kept else 'BROKEN'} {words}" for kept, words in rules]
    (options.directory / "verdict.txt").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0 if all(kept for kept, _ in rules) else 1


if __name__ == "__main__":
    sys.exit(main())
