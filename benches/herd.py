"""The herd: 200,000 clients come back for keys. `python -m benches.herd` simulates it and fills docs/capacity.md.

Everything follows from a seed, the capacity that `ntspool bench` measures, and the clients' own retry rules
(benches/herd_clients.py); no sockets, no clock. `--capacity` is one core's sessions per second.
"""

import argparse
import math
import multiprocessing
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from benches.herd_clients import KINDS, AnyClient, Failure
from benches.herd_server import Herd, Policy
from benches.plot import Axis, Line, chart

CLIENTS = 200_000
CAPACITY = 2600.0
"""Sessions per second on one core, as docs/performance.md has them for ntspool as it is installed."""

SEED = 5
DAYS = 86400.0
UNTIL = 2 * DAYS

MIXES: Mapping[str, Mapping[str, float]] = {
    "mostly chrony": {"chrony": 0.8, "ntpsec": 0.1, "ntpd-rs": 0.1},
    "thirds": {"chrony": 1, "ntpsec": 1, "ntpd-rs": 1},
    "chrony only": {"chrony": 1},
    "ntpd-rs only": {"ntpd-rs": 1},
    "NTPsec only": {"ntpsec": 1},
}
POLLS = {64.0: 0.1, 256.0: 0.2, 1024.0: 0.7}
"""How often established clients poll, in seconds, and their shares: an assumption, most rest at the default maximum."""

COMINGS = {
    "at once": "all within 2 s, their daemons just started",
    "re-key": "each at its next poll, as when a key is lost",
    "hour": "after an hour without a gateway, each when its retry is due",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One run: how many clients of which mix come how, and what they meet."""

    label: str
    policy: Policy
    coming: str = "at once"
    mix: str = "mostly chrony"
    clients: int = CLIENTS


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it.

    `waits` are the seconds from coming to cookies, sorted, also by kind of client; `curve` is the share of clients
    served over time; `work` is in seconds of the whole capacity.
    """

    case: Case
    counts: Counter[str]
    waits: list[float]
    by_kind: dict[str, list[float]]
    curve: list[tuple[float, float]]
    last: float
    work: float

    @property
    def unserved(self) -> int:
        return self.case.clients - len(self.waits)

    @property
    def waste(self) -> float:
        """The share of the work that gave no client cookies."""
        useful = len(self.waits) / self.case.policy.capacity
        return max(0.0, 1 - useful / self.work) if self.work else 0.0


def simulate(case: Case) -> Result:
    """Run one case; the same case always gives the same result."""
    random = Random(SEED)
    comings = list(_comings(case, random))
    herd = Herd(case.policy, random)
    herd.run(comings, UNTIL)
    clients = [client for _, client in comings]
    ends = sorted(client.served for client in clients if client.served is not None)
    by_kind: dict[str, list[float]] = {}
    for client in clients:
        if client.served is not None:
            by_kind.setdefault(client.name, []).append(client.served - client.came)
    for waits in by_kind.values():
        waits.sort()
    steps = [round(len(ends) * step / 200) for step in range(1, 201)] if len(ends) >= 200 else []
    return Result(
        case=case,
        counts=herd.counts,
        waits=sorted(wait for waits in by_kind.values() for wait in waits),
        by_kind=by_kind,
        curve=[(ends[step - 1], 100 * step / case.clients) for step in steps],
        last=ends[-1] if ends else 0.0,
        work=herd.work,
    )


def _comings(case: Case, random: Random) -> Iterator[tuple[float, AnyClient]]:
    """Yield the time of each client's first attempt, and the client."""
    shares = MIXES[case.mix]
    kinds = random.choices([KINDS[name] for name in shares], list(shares.values()), k=case.clients)
    for kind in kinds:
        if case.coming == "at once":
            client: AnyClient = kind(2.0)
            client.came = time = random.uniform(0, 2)
        else:
            poll = random.choices(list(POLLS), list(POLLS.values()))[0]
            client = kind(poll)
            if case.coming == "re-key":
                client.came = time = random.uniform(0, poll)
            else:
                time = _first_after_outage(client, random)
        yield time, client


def _first_after_outage(client: AnyClient, random: Random, outage: float = 3600.0) -> float:
    """Return when a client first tries after the gateway's return at 0; its wait is told from there."""
    time = -random.uniform(0, outage)
    while time < 0:
        client.attempts += 1
        time = client.again(time, Failure.BEFORE_TLS, random)
    return time


def percentile(waits: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of sorted values; nan when there are none."""
    return waits[max(0, math.ceil(len(waits) * percent / 100) - 1)] if waits else math.nan


def policies(capacity: float, clients: int = CLIENTS) -> list[Case]:
    """Return the ways to meet the same herd of CLIENTS on one core.

    Fewer `clients` stand for the whole herd before a server as much slower and with shorter queues: the times come out
    the same.
    """
    scale = clients / CLIENTS
    few, right, many = round(0.1 * capacity), round(2 * capacity), round(10 * capacity)
    plain = policy(capacity, scale)
    kinds = {
        "serve everyone late": replace(plain, backlog=10**9, accepted=10**9),
        "kernel's queue of 4,096": replace(plain, accepted=plain.batch),
        "kernel's queue of 65,536": replace(plain, accepted=plain.batch, backlog=round(65536 * scale)),
        f"close beyond {few:,} open (0.1 s)": replace(plain, limit=few * scale),
        f"close beyond {right:,} open (2 s)": replace(plain, limit=right * scale),
        f"close beyond {many:,} open (10 s)": replace(plain, limit=many * scale),
        "CoDel, target 0.1 s": replace(plain, target=0.1),
        "CoDel, target 2 s": replace(plain, target=2.0),
        f"NTS-KE error beyond {few:,}": replace(plain, limit=few * scale, answer_error=True),
    }
    return [Case(label, each, clients=clients) for label, each in kinds.items()]


def policy(capacity: float, scale: float) -> Policy:
    """Return a server that turns nobody away, `scale` times as fast as one of this capacity."""
    backlog, accepted, batch = (max(1, round(each * scale)) for each in (4096, 256, 64))
    return Policy(capacity * scale, backlog=backlog, accepted=accepted, batch=batch)


def good(capacity: float, scale: float) -> Policy:
    """Return the policy that docs/capacity.md recommends: as many open as are served in 2 s, the others closed."""
    return replace(policy(capacity, scale), limit=2 * capacity * scale)


def mixes(capacity: float, clients: int = CLIENTS) -> list[Case]:
    """Return herds of CLIENTS of every mix before one core."""
    return [Case(mix, good(capacity, clients / CLIENTS), mix=mix, clients=clients) for mix in MIXES]


CORES = (1, 2, 4, 8, 16)


def cores(capacity: float, clients: int = CLIENTS) -> list[Case]:
    """Return so many cores before a million clients."""
    return [
        Case(f"{number}", good(number * capacity, clients / 1e6), coming=coming, clients=clients)
        for coming in COMINGS
        for number in CORES
    ]


HEAD = ("cookies after, 50 %", "90 %", "99 %", "the last", "tries each", "turned away", "timed out", "work wasted")


def row(result: Result) -> list[str]:
    """Return a result as the cells of HEAD; tries and failures are per client."""
    counts, clients = result.counts, result.case.clients
    return [
        *(span(percentile(result.waits, percent)) for percent in (50, 90, 99)),
        span(result.last) if not result.unserved else f"{result.unserved / clients:.1%} never",
        f"{counts['attempts'] / clients:.1f}",
        f"{(counts['turned away'] + counts['errors']) / clients:.1f}",
        f"{(counts['timed out'] + counts['cut']) / clients:.1f}",
        f"{result.waste:.0%}",
    ]


def span(seconds: float) -> str:
    """Return a time as people say it."""
    if math.isnan(seconds):
        return "-"
    for unit, length in (("d", DAYS), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def markdown(first: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [(first, *head), ("---", *("---:" for _ in head)), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def kinds_table(results: Sequence[Result]) -> str:
    """Return what each kind of client waits: half of them, and all but one in a hundred."""
    names = list(KINDS)
    head = [f"{name} {percent} %" for name in names for percent in (50, 99)]
    rows = [
        [each.case.label]
        + [span(percentile(each.by_kind.get(name, []), percent)) for name in names for percent in (50, 99)]
        for each in results
    ]
    return markdown("policy", head, rows)


def cores_table(results: Sequence[Result]) -> str:
    head = [f"{coming}, {percent} %" for coming in COMINGS for percent in (50, 99)]
    rows = []
    for number in CORES:
        mine = {each.case.coming: each for each in results if each.case.label == str(number)}
        cells = [span(percentile(mine[coming].waits, percent)) for coming in COMINGS for percent in (50, 99)]
        rows.append([str(number), *cells])
    return markdown("cores per million", head, rows)


def pictures(met: Sequence[Result], sized: Sequence[Result]) -> dict[str, str]:
    """Return the charts by file name."""
    shown = [each for each in met if each.curve]
    served = chart(
        "One core, 200,000 clients at once: who is served when",
        Axis("seconds since the first came", 1, 20_000, log=True),
        Axis("clients with cookies, %", 0, 100),
        [Line(each.case.label, each.curve) for each in shown],
    )
    lines = [
        Line(
            f"{coming}, {percent} %",
            [(float(each.case.label), percentile(each.waits, percent)) for each in sized if each.case.coming == coming],
            marked=True,
        )
        for coming in COMINGS
        for percent in (50, 99)
    ]
    needed = chart(
        "What clients wait, by cores per million of them",
        Axis("cores per million clients", 0.8, 20, log=True),
        Axis("seconds from first try to cookies", 0.001, 10_000, log=True),
        lines,
    )
    return {"herd-policies.svg": served, "herd-cores.svg": needed}


def fill(page: str, tables: Mapping[str, str]) -> str:
    """Return a page with each table between its own two marks; raises ValueError when marks are missing."""
    for name, table in tables.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        before, _, rest = page.partition(begin)
        _, found, after = rest.partition(end)
        page = f"{before}{begin}\n{table}\n{end}{after}"
        if not found:
            raise ValueError(f"the page has no place for {name}")
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate herds of NTS-KE clients and fill docs/capacity.md.")
    parser.add_argument("--capacity", type=float, default=CAPACITY, help="sessions per second on one core")
    parser.add_argument("--clients", type=int, default=CLIENTS, help="fewer are quicker, and tell nearly the same")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--docs", type=Path, default=Path(__file__).parents[1] / "docs")
    told = parser.parse_args()
    groups = [make(told.capacity, told.clients) for make in (policies, mixes, cores)]
    with multiprocessing.Pool(told.processes) as pool:
        results = pool.imap(simulate, [case for group in groups for case in group])
        met, mixed, sized = ([next(results) for _ in group] for group in groups)
    tables = {
        "policies": markdown("policy", HEAD, [[each.case.label, *row(each)] for each in met]),
        "kinds": kinds_table(met),
        "mixes": markdown("mix", HEAD, [[each.case.label, *row(each)] for each in mixed]),
        "cores": cores_table(sized),
    }
    for name, table in tables.items():
        print(f"{name}\n{table}\n")
    page = told.docs / "capacity.md"
    page.write_text(fill(page.read_text(), tables))
    for name, picture in pictures(met, sized).items():
        (told.docs / name).write_text(picture)


if __name__ == "__main__":
    main()
