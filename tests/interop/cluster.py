"""A pool of several gateways that share an etcd, over the same backends, each of which has an agent.

All is on loopback, or each gateway in a network of its own, and all else in another.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ntspool.app.throwaway import Authority
from tests.interop.cables import Cable
from tests.interop.daemons import endpoint
from tests.interop.etcd import EtcdCluster, etcd
from tests.interop.lab import free_port, here, wait_until
from tests.interop.load import Load, carried_out, planned
from tests.interop.pool import HOSTS, Member, laid_out
from tests.interop.rotating import PATIENCE, Rotating, unkeyed

HEALTH = "{interval: 400ms, timeout: 390ms, rise: 1, fall: 12}"
SETTLED = 60.0
"""Seconds in which all gateways must know what one of them was told, be the machine as busy as it is."""


@dataclass
class Site(Rotating):
    """One gateway of the cluster, which clients and agents reach at `address`; the first has the agents' processes."""

    name: str = ""
    address: str = "127.0.0.1"

    def cluster(self) -> dict[str, Any]:
        """Return what `ntspool cluster status` shows."""
        told: dict[str, Any] = self.view()["cluster"]
        return told

    def view(self) -> dict[str, Any]:
        """Return what `ntspool status` shows."""
        return self.ask("GET", "/v1/status")

    def gives_out(self) -> str:
        """Be a client once, in the gateway's network, and return the backend that is given out."""
        words = (f"127.0.0.1:{self.pool.port}", "--name=localhost", f"--ca={self.pool.ca}", "--timeout=1", "--json")
        _, printed = self.attempt("query", *words, config=False)
        told = json.loads(printed)
        return self.pool.name_at(told["ntp_server"], told["ntp_port"])

    def runs(self) -> bool:
        return "gateway" in self.processes and self.processes["gateway"].poll() is None


@dataclass
class Sites:
    """All gateways by their names, and the etcd that they share."""

    etcd: EtcdCluster
    sites: dict[str, Site] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Site:
        return self.sites[name]

    @property
    def running(self) -> list[Site]:
        return [each for each in self.sites.values() if each.runs()]

    def agree(self, names: Sequence[str] | None = None) -> None:
        """Wait until the gateways that run know each other, and go by the same shared state."""
        names = sorted(names or (each.name for each in self.running))

        def agreed() -> bool:
            for name in names:
                told = self.sites[name].cluster()
                alive = {each["name"]: each["agrees"] for each in told["gateways"] if each["alive"]}
                if told["away"] is not None or sorted(alive) != names or not all(alive.values()):
                    return False
            return len({self.sites[name].current() for name in names}) == 1

        wait_until(f"{names} to agree", agreed, SETTLED)

    def wait(self, what: str, condition: Callable[[], object], deadline: float = SETTLED) -> None:
        wait_until(what, lambda: bool(condition()), deadline)

    def leader(self) -> str:
        """Return the name of the gateway that leads."""
        found = wait_until("a gateway to lead", lambda: self.running[0].cluster()["leader"], SETTLED)
        return str(found)

    def enroll(self, backend: str, at: str) -> None:
        """Enrol a backend's agent by a token of one gateway, to talk to all."""
        token = self.sites[at].ntspool("backend", "enroll", backend).strip()
        gateways = [f"--gateway={endpoint(each.address, each.control)}" for each in self.sites.values()]
        words = ("agent", "enroll", token, *gateways, f"--state={self.first._state(backend)}")
        status, printed = self.first.attempt(*words, config=False)
        assert status == 0, printed

    @property
    def first(self) -> Site:
        return next(iter(self.sites.values()))

    @contextmanager
    def load(self, clients: int) -> Iterator[Load]:
        """Run a load where the backends are, of clients that go to another gateway when one does not serve."""
        pool = self.first.pool
        gateways = [(each.address, each.pool.port) for each in self.sites.values()]
        plan = replace(planned(pool, clients, self.first.life), gateways=gateways, patience=4.0)
        with carried_out(plan, pool.daemons_network) as running_load:
            yield running_load


@contextmanager
def sites(
    members: Sequence[Member],
    names: Sequence[str] = ("north", "south", "west"),
    life: float = 4,
    cables: Mapping[str, Cable] | None = None,
    etcd_address: str = "127.0.0.1",
    rotate: str = "off",
    programs: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[Sites]:
    """Run an etcd of three, the gateways, the backends and their agents, from when all of it works.

    With `cables` each gateway is at the near end of that of its name, and all else at the far end of them all.
    `programs` are what gateways run that are not the plain ntspool.
    """
    cables, programs = cables or {}, programs or {}
    home = cables[names[0]].there if cables else here()
    with etcd(3, home, etcd_address) as shared, ExitStack() as stack:
        made, authority = Sites(shared), Authority.make(datetime.now(UTC))
        for name in names:
            network, address = (cables[name].here, cables[name].addresses[0]) if cables else (home, "127.0.0.1")
            pool = stack.enter_context(laid_out(members, network, HEALTH, home, authority))
            program = programs.get(name, Site.program)
            site = Site(pool, life, free_port("127.0.0.1"), stack, program=program, name=name, address=address)
            _configure(site, shared.endpoints, rotate)
            made.sites[name] = site
        for each in members:
            stack.enter_context(unkeyed(made.first.pool, each))
        for site in made.sites.values():
            site.pool.daemons = made.first.pool.daemons
            site.start_gateway()
        made.agree()
        for index, each in enumerate(members):
            made.enroll(each.name, at=names[index % len(names)])
            made.first.start_agent(each.name)
        for site in made.sites.values():
            wait_until(
                "all backends to be UP", lambda site=site: site.minting().keys() == site.pool.members.keys(), PATIENCE
            )
        yield made


def _configure(site: Site, etcd: Sequence[str], rotate: str) -> None:
    pool = site.pool
    key = pool.directory / "kek"
    key.write_text("the same key on every gateway of this test\n")
    key.chmod(0o600)
    # So many processes share the cores of one machine here.
    text = pool.config.read_text().replace("workers: 2", "workers: 1")
    if site.address not in HOSTS:
        text = text.replace("listen: [", f'listen: ["{site.address}:{pool.port}", ')
    pool.config.write_text(
        f"{text}keys: {{rotate: {rotate}, life: {site.life:g}s, encryption_key: {key}}}\n"
        f'control: {{listen: ["{site.address}:{site.control}"]}}\n'
        f"store: {{etcd: [{', '.join(etcd)}]}}\ngateway: {{name: {site.name}}}\n"
    )
