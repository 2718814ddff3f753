"""Takes the figures of a soak: what the load client, the clients that verify, the gateway and the kernel tell."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benches.soak_figures import Broken, Row, count
from benches.soak_operator import Operator, started
from ntspool.app.adminclient import call
from tests.interop.clients import ChronyClient
from tests.interop.lab import wait_until
from tests.interop.load import NO_ANSWER, Load

ANSWERED = 2
"""The state of a session, as the load client tells it, in which it waits for the server's first byte."""

PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Sampler:
    """Makes a line of figures out of what all parts tell, whenever the load client, process `load`, has told something.

    It tells that in the file `output`. `turned_away` clients had been before the soak began.
    """

    operator: Operator
    clients: Sequence[ChronyClient]
    verifying: Load
    output: Path
    load: int
    turned_away: int
    broken: list[Broken] = field(default_factory=list)
    read: int = 0
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
        """Return the figures as of now; `told` is what the load client has just told, `core` where the gateway is."""
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
        """Return the processes of each group, given those of the workers; `worker` is the eldest of them."""
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
        broken = [
            Broken("eof" if "reset" in words or "closed" in words else "other", False, began - shift, ended - shift)
            for began, ended, _, words in report.refusals
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
        """Return what the chronyds that are clients have had to do since their first key exchange."""
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
