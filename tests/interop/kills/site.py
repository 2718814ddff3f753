"""A whole pool, every process of it a unit that is started again, gateway, backends and agents; and its operator."""

import asyncio
import os
import random
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from socket import AF_INET, AF_INET6, create_server
from typing import Any

from ntspool import config
from ntspool.app import declared
from ntspool.app.adminclient import call
from ntspool.errors import LocalError, RefusedError, RemoteError, UnreachableError
from ntspool.net import enrolment
from ntspool.net.agentclient import Gateway, enrol
from ntspool.net.store import FileStore
from ntspool.pool.admin import AS_DECLARED, Mode, Order
from tests import systemd
from tests.interop.daemons import timeserver
from tests.interop.kills.units import Unit, soon
from tests.interop.lab import free_port
from tests.interop.pool import HOSTS, Member, Pool, laid_out
from tests.interop.rotating import Rotating, unkeyed
from tests.processes import workers_of

LIFE = 5.0
"""Seconds for which a cookie is good."""

HEALTH = "{interval: 500ms, timeout: 450ms, fast_interval: 500ms, down_interval: 500ms, rise: 1, fall: 4}"

PATIENCE = 60.0
"""Seconds in which all must be as it was."""

AGENT_PAUSE = 0.5
WEIGHTS = (1, 5, 10, 20)


@dataclass
class Site:
    """The pool, its processes by what they are, and what its operator knows to hold.

    `orders` are what may be wanted of each backend: more than one as long as an order's answer was lost with the
    control process. `epoch` is the current one, at least; `tally` counts what the operator did, by how it ended.
    """

    pool: Pool
    control: int
    status_port: int
    chance: random.Random
    gateway: Unit
    backends: dict[str, Unit] = field(default_factory=dict)
    agents: dict[str, Unit] = field(default_factory=dict)
    orders: dict[str, set[Order]] = field(default_factory=dict)
    epoch: int = 0
    tally: dict[str, int] = field(default_factory=dict)
    busy: threading.RLock = field(default_factory=threading.RLock)

    @property
    def state(self) -> Path:
        """The gateway's state directory."""
        return self.pool.directory / "state"

    @property
    def bound(self) -> float:
        """Seconds from a backend's death to when it is DOWN at the latest, by the settings."""
        return declared.check_settings(config.load(self.pool.config)).fleet_rules.round

    @property
    def workers(self) -> set[int]:
        """The process ids of all workers, whichever control process they had."""
        return workers_of(self.state)

    def api(self, method: str, resource: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask as commands do; raises LocalError."""
        return call(self.state / "admin.sock", method, f"/v1/{resource}", body, 40)

    def metric(self, name: str) -> float:
        """Return a metric without labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.status_port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return float(next(line.split()[1] for line in lines if line.split()[0] == name))

    def serves(self, name: str) -> bool:
        """Tell whether a backend serves time."""
        answer = self.pool.daemons[name].exchange(b"\x23" + bytes(39) + os.urandom(8), timeout=0.2)
        return answer is not None and answer[1] > 0

    def agent_state(self, name: str) -> Path:
        """Return the state directory of a backend's agent."""
        return self.pool.directory / f"{name}.agent"

    # What the operator does. Each returns when it is done, or its outcome is not to be known any more.

    def rotate(self) -> bool:
        """Rotate the keys if that is allowed, and tell whether that was done for sure."""
        with self.busy:
            if done := self._try("rotate", lambda: self.api("POST", "keys/rotate")):
                self.epoch += 1
            return done

    def until_rotated(self) -> bool:
        """Rotate as soon as that is allowed; tell whether it was."""
        return soon(self.rotate, PATIENCE, 0.2)

    def until_allowed(self) -> bool:
        """Return once a rotation is allowed; tell whether it is."""
        return soon(self._allowed, PATIENCE, 0.2)

    def _allowed(self) -> bool:
        try:
            told = self.api("GET", "keys")["backends"]
        except LocalError:
            return False
        return len(told) == len(self.backends) and not any(each["waits"] for each in told)

    def reload(self) -> None:
        """Reload the configuration."""
        with self.busy:
            self._try("reload", lambda: self.api("POST", "reload"))

    def replace_workers(self) -> None:
        """Put a fresh process in each worker's place."""
        with self.busy:
            self._try("reload --workers", lambda: self.api("POST", "workers/replace"))

    def give_order(self) -> None:
        """Drain a backend, or take that back; or weigh one otherwise. At most one is drained."""
        with self.busy:
            drained = [name for name, orders in self.orders.items() if any(each.mode is Mode.DRAIN for each in orders)]
            name = self.chance.choice(drained or sorted(self.orders))
            if self.chance.random() < 0.6:
                mode = Mode.READY if drained else Mode.DRAIN
                self._order(name, f"backends/{name}/{mode}", None, lambda order: replace(order, mode=mode))
            else:
                weight = self.chance.choice(WEIGHTS)
                body = {"weight": weight}
                self._order(name, f"backends/{name}/weight", body, lambda order: replace(order, weight=weight))

    def enrol(self, name: str) -> bool:
        """Enrol a backend's agent anew, as its administrator would; tell whether that was done for sure."""
        with self.busy:
            return self._try("enrol", lambda: asyncio.run(self._enrol(name)))

    async def _enrol(self, name: str) -> None:
        token = enrolment.create_token(FileStore(self.state), name, time.time(), 3600.0, os.urandom)
        await enrol([Gateway("127.0.0.1", self.control)], token, self.agent_state(name))

    def _order(self, name: str, resource: str, body: dict[str, Any] | None, change: Callable[[Order], Order]) -> None:
        before = self.orders[name]
        after = {change(order) for order in before}
        # As soon as it is asked for, it may be.
        self.orders[name] = before | after
        if self._try("order", lambda: self.api("POST", resource, body)):
            self.orders[name] = after

    def _try(self, what: str, act: Callable[[], object]) -> bool:
        try:
            act()
        except (UnreachableError, RemoteError):
            how = "answer lost"
        except RefusedError:
            how = "refused"
        except LocalError as error:
            how = f"failed: {error}"
        else:
            how = "done"
        words = f"{what}, {how}"
        self.tally[words] = self.tally.get(words, 0) + 1
        return how == "done"


@contextmanager
def site(names: Sequence[str], chance: random.Random, *, activated: bool) -> Iterator[Site]:
    """Run a pool with an agent for each backend; the second half are our own time servers.

    If it is `activated`, what the gateway listens on is opened for it, as ntspool.socket does.
    """
    members = [
        Member(name, (f"127.0.0.{11 + at}",))
        if at < (len(names) + 1) // 2
        else Member(name, (f"127.0.0.{11 + at}",), timeserver, "ntspool")
        for at, name in enumerate(names)
    ]
    with laid_out(members, health=HEALTH) as pool, ExitStack() as stack:
        control, status_port = free_port("127.0.0.1"), free_port("127.0.0.1")
        with pool.config.open("a") as config_file:
            config_file.write(
                f"keys: {{rotate: off, life: {LIFE:g}s}}\ncontrol: {{listen: ['127.0.0.1:{control}']}}\n"
                f"status: {{listen: ['127.0.0.1:{status_port}']}}\n"
            )
        daemons = {}
        for each in members:
            own = each.cookies == "chrony"
            daemon = stack.enter_context(unkeyed(pool, each) if own else pool.daemon(each.name))
            daemons[each.name] = Unit(daemon.process.args, daemon.directory / "log", process=daemon.process)
            stack.callback(daemons[each.name].stop)
        gateway = _gateway(pool, stack, activated=activated)
        stack.callback(gateway.stop)
        running = Site(pool, control, status_port, chance, gateway, daemons)
        running.orders = {name: {AS_DECLARED} for name in names}
        assert soon(lambda: gateway.journal.count("serving"), 30), (pool.directory / "log").read_text()
        rotating = Rotating(pool, LIFE, control, stack)
        for name in names:
            assert running.enrol(name), running.tally
            command = _ntspool(*rotating.agent_words(name))
            running.agents[name] = Unit(command, pool.directory / f"{name}.log", pause=AGENT_PAUSE)
            stack.callback(running.agents[name].stop)
        running.epoch = running.api("GET", "keys")["epochs"][2]["epoch"]
        yield running


@contextmanager
def operated(running: Site) -> Iterator[None]:
    """Have the pool operated all the time: rotations as soon as they are allowed, reloads, orders."""
    over = threading.Event()

    def operate() -> None:
        while not over.wait(running.chance.uniform(0.3, 1.5)):
            running.chance.choice([running.rotate, running.rotate, running.reload, running.give_order])()

    operator = threading.Thread(target=operate, daemon=True)
    operator.start()
    try:
        yield
    finally:
        over.set()
        operator.join()


def _gateway(pool: Pool, stack: ExitStack, *, activated: bool) -> Unit:
    command, log = _ntspool("serve", f"--config={pool.config}"), pool.directory / "log"
    if not activated:
        return Unit(command, log)
    families = [AF_INET6 if ":" in host else AF_INET for host in HOSTS]
    sockets = [
        stack.enter_context(create_server((host, pool.port), family=family, backlog=4096))
        for host, family in zip(HOSTS, families, strict=True)
    ]
    return Unit(systemd.activated(command, sockets), log, pass_fds=[each.fileno() for each in sockets])


def _ntspool(*words: str) -> list[str]:
    return [sys.executable, "-m", "ntspool", *words]
