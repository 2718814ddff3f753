"""A run: so many kills, one scene after the other from a shuffled deck, and a report in figures."""

import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.interop.clients import chrony_client
from tests.interop.kills.aftermath import Aftermath, Losses, Outage
from tests.interop.kills.scenes import SCENES, Killer
from tests.interop.kills.site import Site, operated, site
from tests.interop.load import Report, load

SHOWN = 5
"""Of what is wrong after one scene, so much is told at once."""


@dataclass(frozen=True, slots=True)
class Plan:
    """At least so many kills by these scenes, `rate` clients a second that come and go, and so many that stay.

    If the site is not `activated`, the last worker's death closes the port. What gateway and agents have logged is
    copied to the directory `logs`.
    """

    count: int
    seed: int
    scenes: Sequence[str] = tuple(SCENES)
    backends: int = 4
    rate: float = 50.0
    clients: int = 12
    chronyds: int = 2
    activated: bool = True
    logs: Path | None = None


@dataclass
class Told:
    """What a run found: `wrong` is empty if all was as it must be, `figures` are for people."""

    wrong: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)


def run(plan: Plan, tell: Callable[[str], None] = lambda _: None) -> Told:
    """Run a plan to its end, whatever it finds; `tell` gets a line for each scene."""
    told, losses, chance = Told(), Losses(), random.Random(plan.seed)
    tell(f"seed {plan.seed}")
    with ExitStack() as stack:
        names = [f"ntp-{number}" for number in range(1, plan.backends + 1)]
        running = stack.enter_context(site(names, random.Random(plan.seed + 1), activated=plan.activated))
        # Long enough for the slowest scene: nobody comes anew but whom a dead backend has left without cookies.
        loading = stack.enter_context(load(running.pool, plan.clients, 5.0, fresh=86400, visits=plan.rate))
        chronyds = [stack.enter_context(chrony_client(running.pool, poll=-1)) for _ in range(plan.chronyds)]
        aftermath = Aftermath(running, loading, chronyds, losses)
        told.wrong += aftermath.settle() + aftermath.judge()
        tell(f"settled: {told.wrong or 'well'}")
        killer, began, kinds = Killer(running, losses, chance), time.time(), Counter[str]()
        with operated(running):
            for name in _deck(plan.scenes, chance):
                if _kills(losses).total() >= plan.count:
                    break
                time.sleep(chance.uniform(0, 1.0))
                at, kills = time.time(), _kills(losses)
                wrong = SCENES[name](killer) + aftermath.torn() + aftermath.settle() + aftermath.judge()
                kinds[name] += 1
                more = ", ".join(sorted((_kills(losses) - kills).elements()))
                well = f"well after {time.time() - at:.1f} s {'; '.join(wrong[:SHOWN])}"
                tell(f"{at - began:6.1f} s {name}: {more}; {well}")
                told.wrong += [f"{name} at {at - began:.1f} s: {each}" for each in wrong]
        if plan.logs is not None:
            for each in (running.gateway, *running.agents.values()):
                shutil.copy(each.log, plan.logs)
        report = loading.settle()
        told.wrong += [f"in the end: {each}" for each in aftermath.judge()]
        told.wrong += [f"a mistake of ours: {each}" for each in _mistakes(running)]
        told.figures = _figures(plan, running, losses, report, aftermath) | {
            "scenes": dict(kinds),
            "seconds": round(time.time() - began),
        }
    return told


def _deck(scenes: Sequence[str], chance: random.Random) -> Iterator[str]:
    """Yield every scene, in another order each time, for ever."""
    while True:
        yield from chance.sample(list(scenes), len(scenes))


def _kills(losses: Losses) -> Counter[str]:
    return Counter(
        {
            "worker": len(losses.workers),
            "control process": len(losses.control),
            "agent": sum(map(len, losses.agents.values())),
            "backend": sum(map(len, losses.backends.values())),
        }
    )


def _mistakes(running: Site) -> list[str]:
    units = [running.gateway, *running.agents.values()]
    for each in units:
        each.journal.count("")
    return [line for each in units for line in each.journal.mistakes]


def _figures(plan: Plan, running: Site, losses: Losses, report: Report, aftermath: Aftermath) -> dict[str, Any]:
    backends = [each for outages in losses.backends.values() for each in outages]
    return {
        "plan": {"seed": plan.seed, "sessions a second": plan.rate, "backends": plan.backends},
        "kills": dict(_kills(losses)),
        "sessions": report.sessions,
        "sessions failed": dict(aftermath.lost),
        "slowest session, s": round(report.slowest, 2),
        "time requests": report.spent.total(),
        "answered": report.answered.total(),
        "without answer": dict(aftermath.silent),
        "NAKs": sum("NAK" in cause for *_, cause in report.failures),
        "cookies overdue": report.overdue,
        "key exchanges of chronyds": aftermath.exchanges,
        "epochs": running.epoch,
        "operations": dict(sorted(running.tally.items())),
        "longest outage of a backend, s": _longest(backends),
        "longest until all was well without a worker, s": _longest(losses.blackouts),
        "longest without a control process, s": _longest(losses.control),
        "files looked at": aftermath.disk.looked,
        "starts": {"gateway": running.gateway.starts, "agents": sum(each.starts for each in running.agents.values())},
    }


def _longest(outages: Sequence[Outage]) -> float:
    return round(max((each.seconds for each in outages if each.back), default=0.0), 2)


def as_text(told: Told) -> str:
    """Return a report for people."""
    return "\n".join([json.dumps(told.figures, indent=1), f"wrong: {len(told.wrong)}", *told.wrong])
