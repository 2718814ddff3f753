"""What must hold after a kill, and for whom: clients, commands, metrics, logs."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from errno import ECONNREFUSED
from os import strerror

from ntspool.errors import LocalError
from ntspool.pool.admin import AS_DECLARED
from tests.interop.clients import ChronyClient
from tests.interop.kills.files import Disk
from tests.interop.kills.site import LIFE, PATIENCE, Site
from tests.interop.kills.units import soon
from tests.interop.load import NO_ANSWER, Load
from tests.interop.load import PATIENCE as ANSWERED_WITHIN

NO_TIME = (NO_ANSWER, str(OSError(ECONNREFUSED, strerror(ECONNREFUSED))))
LOST = ("closed", "reset by peer")
TOO_LATE = (*LOST, "no answer within")
SLACK = 2.0
"""Seconds that a busy machine may be late."""


@dataclass
class Outage:
    """When something was killed, and when it worked again; Unix seconds, None as long as it does not."""

    died: float
    back: float | None = None

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return (self.back or time.time()) - self.died

    def overlaps(self, began: float, ended: float) -> bool:
        """Tell whether a span of time has to do with it."""
        return began <= (self.back or ended) + SLACK and ended >= self.died - 0.1


@dataclass
class Losses:
    """What was killed so far: outages of the control process and of backends and agents by name, deaths of workers.

    `blackouts` are when no worker at all was left.
    """

    control: list[Outage] = field(default_factory=list)
    backends: dict[str, list[Outage]] = field(default_factory=lambda: defaultdict(list))
    agents: dict[str, list[Outage]] = field(default_factory=lambda: defaultdict(list))
    workers: list[float] = field(default_factory=list)
    blackouts: list[Outage] = field(default_factory=list)


class Aftermath:
    """Call `torn` right after a kill, and `settle` and `judge` then; each says what is not as it must be."""

    def __init__(self, site: Site, load: Load, chronyds: list[ChronyClient], losses: Losses) -> None:
        self.disk = Disk(site)
        self.lost: Counter[str] = Counter()
        self.silent: Counter[str] = Counter()
        self._site = site
        self._load = load
        self._losses = losses
        self._chronyds = dict.fromkeys(chronyds, (0, ""))
        self._judged = (0, 0)
        self._dead = time.time()

    def torn(self) -> list[str]:
        """Say what is wrong on disk at this very moment."""
        return list(self.disk.amiss())

    def settle(self) -> list[str]:
        """Wait until all is as it was, and say what is not in the end."""
        last: list[str] = []

        def settled() -> bool:
            self._note_who_is_back()
            last[:] = self._unsettled()
            return not last

        well = soon(settled, PATIENCE, 0.2)
        for each in self._losses.blackouts:
            each.back = each.back or time.time()
        return [] if well else [f"after {PATIENCE:g} s: {each}" for each in last]

    def judge(self) -> list[str]:
        """Say what else is wrong once all has settled."""
        # An agent tidies when it has started and its gateway has told it which daemon is here.
        soon(lambda: not any(self.disk.forgotten()), PATIENCE, 0.2)
        found = list(self.disk.forgotten())
        with self._site.busy:
            found += [*self.disk.amiss(), *self._disobeyed()]
        return [*found, *self._failed_sessions(), *self._failed_requests(), *self._forgotten_epochs(), *self._real()]

    def _note_who_is_back(self) -> None:
        site, now = self._site, time.time
        for name, outages in self._losses.backends.items():
            if outages and outages[-1].back is None and site.serves(name):
                outages[-1].back = now()
        if self._losses.control and self._losses.control[-1].back is None and self._answers():
            self._losses.control[-1].back = now()

    def _answers(self) -> bool:
        try:
            self._site.api("GET", "keys")
        except LocalError:
            return False
        return True

    def _unsettled(self) -> list[str]:
        site = self._site
        try:
            status = site.api("GET", "status")
        except LocalError as error:
            return [str(error)]
        workers, keys = status["workers"], status["keys"]
        current = keys["epochs"][2]["epoch"]
        found = [
            f"{each['name']} is {each['state']}, mints {each['minting']} of {current}: {each['cause']}"
            for each in status["backends"]
            if not all(address["up"] for address in each["addresses"]) or each["minting"] != current
        ]
        found += [f"{each['backend']} proves less" for each in keys["backends"] if str(current) not in each["proved"]]
        if set(workers["pids"]) != site.workers or len(workers["pids"]) != workers["wanted"]:
            found.append(f"workers {workers['pids']} are told, {site.workers} run")
        found += [f"the agent of {name} does not run" for name, each in site.agents.items() if each.pid is None]
        seen = {each["backend"] for each in keys["agents"]}
        found += [f"no agent of {name} was seen" for name in site.agents.keys() - seen]
        return found

    def _disobeyed(self) -> Iterator[str]:
        """Say where the kept orders are none of those that may have been kept, or the gateway goes by others."""
        site, kept = self._site, self.disk.orders()
        told = {each["name"]: each for each in site.api("GET", "status")["backends"]}
        for name, possible in site.orders.items():
            order = kept.get(name, AS_DECLARED)
            if order not in possible:
                yield f"{name}: {order} is kept and not one of {sorted(map(str, possible))}"
            site.orders[name] = {order}
            weight = 10 if order.weight is None else order.weight
            if (told[name]["admin"], told[name]["effective_weight"]) != (str(order.mode), weight):
                yield f"{name}: {order} is kept, shown is {told[name]}"

    def _failed_sessions(self) -> Iterator[str]:
        """Say which key exchanges failed other than by being open in a worker that was killed."""
        refusals = self._load.report().refusals
        for began, ended, _, cause in refusals[self._judged[0] :]:
            killed = any(began - 0.05 <= died <= ended + 0.05 for died in self._losses.workers)
            dark = any(each.overlaps(began, ended) for each in self._losses.blackouts)
            self.lost[("no worker: " if dark else "open in a killed worker: ") + cause] += 1
            if not (killed or dark) or not any(words in cause for words in (TOO_LATE if dark else LOST)):
                yield f"a session of {began:.2f} to {ended:.2f} failed: {cause}"
        self._judged = (len(refusals), self._judged[1])

    def _failed_requests(self) -> Iterator[str]:
        """Say which requests brought no time other than by a dead backend, one that was given out rightly."""
        failures = self._load.report().failures
        for began, backend, key_id, age, cause in failures[self._judged[1] :]:
            self.silent[cause] += 1
            words = f"{backend} at {began:.2f}, key {key_id}, cookie {age:.2f} s old: {cause}"
            outages = [each for each in self._losses.backends[backend] if each.overlaps(began, began + ANSWERED_WITHIN)]
            if cause not in NO_TIME or not outages:
                yield words
            elif began - age > max(each.died + self._until_down(each) for each in outages):
                yield f"given out though dead: {words}"
        self._judged = (self._judged[0], len(failures))

    def _until_down(self, outage: Outage) -> float:
        """Return the seconds after its death for which a backend may be given out: nobody looks without a gateway."""
        blind = [each for each in self._losses.control if each.overlaps(outage.died, outage.back or time.time())]
        return self._site.bound + SLACK + sum(each.seconds for each in blind)

    def _forgotten_epochs(self) -> Iterator[str]:
        """Say which epochs are gone though cookies of them may be good."""
        # In this order: what is handed out meanwhile is no older than the keyring.
        handed, now = self._load.report().handed, time.time()
        there = {str(epoch.key_id) for epoch in self.disk.keys().epochs}
        for key, when in handed.items():
            if now - when < LIFE and key not in there:
                yield f"epoch {key} is gone {now - when:.1f} s after a cookie of it was handed out"

    def _real(self) -> Iterator[str]:
        """Say which chronyd has had an NAK, or another key exchange though no backend had died."""
        dead = self._dead
        self._dead = max([dead, *(each[-1].died for each in self._losses.backends.values() if each)])
        for client, (exchanges, address) in self._chronyds.items():
            auth, traffic = client.auth(), client.traffic()
            if auth is None or traffic is None:
                continue
            if auth.naks:
                yield f"chronyd has had {auth.naks} NAKs from {traffic.address}"
            if exchanges and auth.key_id > exchanges and traffic.address == address and self._dead == dead:
                yield f"chronyd has made key exchange {auth.key_id} after {exchanges}"
            self._chronyds[client] = (auth.key_id, traffic.address)

    @property
    def exchanges(self) -> int:
        """How many key exchanges the chronyds have made."""
        return sum(exchanges for exchanges, _ in self._chronyds.values())
