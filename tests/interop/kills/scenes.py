"""Who is killed, and in the middle of what; each scene notes its losses and says what it did not see."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ntspool.errors import LocalError
from tests.interop.kills.aftermath import SLACK, Losses, Outage
from tests.interop.kills.site import PATIENCE, Site
from tests.interop.kills.units import soon

SHORT = 0.05
"""Seconds after its beginning within which an operation is hit."""

KILLED = "signal 9 (SIGKILL)"


class Killer:
    """Kills processes of a site at moments of `chance`; every scene is a method, which returns what is wrong."""

    def __init__(self, site: Site, losses: Losses, chance: random.Random) -> None:
        self._site = site
        self._losses = losses
        self._chance = chance

    # Whom.

    def worker(self) -> list[str]:
        """Kill a worker of a gateway that lives, and see that this is told."""
        site, deaths = self._site, self._deaths()
        if deaths is None:
            return ["the control process does not answer"]
        told = site.gateway.journal.count("worker died", KILLED)
        killed = self._kill_worker()
        if not soon(lambda: (self._deaths() or 0) >= deaths + killed, PATIENCE):
            return [f"{self._deaths()} deaths of workers are told after {deaths} and {killed} more"]
        if site.metric("ntspool_worker_deaths_total") < deaths + killed:
            return ["the metric of deaths does not count"]
        logged = soon(lambda: site.gateway.journal.count("worker died", KILLED) >= told + killed, 5)
        return [] if logged else ["the log does not tell that a worker was killed"]

    def all_workers(self) -> list[str]:
        """Kill every worker at once."""
        self._losses.blackouts.append(Outage(time.time()))
        for pid in self._site.workers:
            self._kill(pid)
        return []

    def control(self) -> list[str]:
        """Kill the control process; its workers tell that it is gone."""
        journal = self._site.gateway.journal
        before = journal.count("the control process is gone")
        self._kill_control()
        told = soon(lambda: journal.count("the control process is gone") > before, 20)
        return [] if told else ["no worker tells that the control process is gone"]

    def agent(self) -> list[str]:
        """Kill an agent."""
        self._kill_agent(self._name())
        return []

    def backend(self) -> list[str]:
        """Kill a backend's daemon."""
        self._kill_backend(self._name())
        return []

    # In the middle of what.

    def backend_for_long(self) -> list[str]:
        """Kill a backend that does not come back before it is DOWN."""
        site, name = self._site, self._name()
        with site.backends[name].held():
            died = time.time()
            self._kill_backend(name)
            down = soon(lambda: self._states(name) == {"DOWN"}, PATIENCE)
            # By the gateway's own word: on a busy machine, its answer may come late.
            seconds = site.gateway.journal.last("backend DOWN", name) - died
            # Clients that come now must all get another one.
            time.sleep(self._chance.uniform(1.0, 2.0))
        if not down or seconds > site.bound + SLACK:
            return [f"{name} is {self._states(name)} {seconds:.1f} s after its death, the bound is {site.bound:.1f} s"]
        return []

    def control_while_rotating(self) -> list[str]:
        """Kill the control process while it rotates."""
        self._site.until_allowed()
        with self._during(self._site.rotate):
            return self.control()

    def worker_while_rotating(self) -> list[str]:
        """Kill a worker while it is given other keys to mint under."""
        self._site.until_allowed()
        with self._during(self._site.rotate):
            return self.worker()

    def agent_while_keys_come(self) -> list[str]:
        """Kill an agent that has just been given keys: as it writes them, loads them, proves them or tells so."""
        self._site.until_rotated()
        time.sleep(self._chance.uniform(0, 3 * SHORT))
        return self.agent()

    def backend_while_keys_come(self) -> list[str]:
        """Kill a backend that is just given keys."""
        self._site.until_rotated()
        time.sleep(self._chance.uniform(0, 3 * SHORT))
        return self.backend()

    def agent_and_backend(self) -> list[str]:
        """Kill an agent and its backend at once, where new keys may be under way."""
        name = self._name()
        if self._chance.random() < 0.5:
            self._site.until_rotated()
            time.sleep(self._chance.uniform(0, 3 * SHORT))
        self._kill_agent(name)
        self._kill_backend(name)
        return []

    def control_while_reloading(self) -> list[str]:
        """Kill the control process while it reloads."""
        with self._during(self._site.reload):
            return self.control()

    def control_while_ordered(self) -> list[str]:
        """Kill the control process while it is told to drain a backend, or to weigh it otherwise."""
        with self._during(self._site.give_order):
            return self.control()

    def control_while_replacing(self) -> list[str]:
        """Kill the control process while it puts fresh processes in its workers' places."""
        with self._during(self._site.replace_workers, 1.5):
            return self.control()

    def worker_while_replacing(self) -> list[str]:
        """Kill a worker while all of them are replaced: an old one or a fresh one."""
        with self._during(self._site.replace_workers, 1.5):
            self._kill_worker()
        return []

    def control_while_enrolling(self) -> list[str]:
        """Kill the control process while an agent enrols; who does it tries again with another token."""
        name = self._name()
        with self._during(lambda: self._site.enrol(name), 2 * SHORT):
            said = self.control()
        return [*said, *self._enrol(name)]

    def agent_while_enrolling(self) -> list[str]:
        """Kill an agent while its identity is replaced by another."""
        name = self._name()
        with self._during(lambda: self._site.enrol(name), 2 * SHORT):
            self._kill_agent(name)
        return self._enrol(name)

    def control_while_taking_over(self) -> list[str]:
        """Kill the next control process, too, at any moment until it serves."""
        said, site = self.control(), self._site
        soon(lambda: site.gateway.pid is not None, PATIENCE)
        time.sleep(self._chance.uniform(0, 3.0))
        self._kill_control()
        return said

    def control_and_worker(self) -> list[str]:
        """Kill a worker together with the control process that would have replaced it."""
        pid = self._chance.choice(sorted(self._site.workers))
        self._kill_control()
        self._kill(pid)
        return []

    def everything_of_a_gateway(self) -> list[str]:
        """Kill the control process and every worker, as when memory runs out."""
        self._losses.blackouts.append(Outage(time.time()))
        pids = self._site.workers
        self._kill_control()
        for pid in pids:
            self._kill(pid)
        return []

    # How.

    def _name(self) -> str:
        return self._chance.choice(sorted(self._site.backends))

    def _deaths(self) -> int | None:
        with suppress(LocalError):
            return int(self._site.api("GET", "status")["workers"]["deaths"])
        return None

    def _states(self, name: str) -> set[str]:
        """Return the states of a backend's addresses: it may be drained as well."""
        with suppress(LocalError):
            return {each["state"] for each in self._site.api("GET", f"backends/{name}")["addresses"]}
        return set()

    def _kill_worker(self) -> int:
        workers = sorted(self._site.workers)
        return self._kill(self._chance.choice(workers)) if workers else 0

    def _kill(self, worker: int) -> int:
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
            self._losses.workers.append(time.time())
            return 1
        return 0

    def _kill_control(self) -> None:
        self._losses.control.append(Outage(time.time()))
        self._site.gateway.kill()

    def _kill_agent(self, name: str) -> None:
        self._losses.agents[name].append(Outage(time.time()))
        self._site.agents[name].kill()

    def _kill_backend(self, name: str) -> None:
        self._losses.backends[name].append(Outage(time.time()))
        self._site.backends[name].kill()

    @contextmanager
    def _during(self, operation: Callable[[], object], within: float = SHORT) -> Iterator[None]:
        """Begin an operation and let something happen up to `within` seconds later; it may end as it will."""
        began = threading.Event()

        def operate() -> None:
            # As soon as no other operation is under way.
            with self._site.busy:
                began.set()
                operation()

        operating = threading.Thread(target=operate)
        operating.start()
        began.wait()
        time.sleep(self._chance.uniform(0, within))
        yield
        operating.join()

    def _enrol(self, name: str) -> list[str]:
        if not soon(lambda: self._site.enrol(name), PATIENCE, 0.5):
            return [f"{name} cannot be enrolled"]
        # It learns who it is when it starts.
        self._kill_agent(name)
        return []


SCENES = {name: act for name, act in vars(Killer).items() if not name.startswith("_") and callable(act)}
"""What can be done, by name."""

NEED_SOCKETS = ("everything_of_a_gateway",)
"""Those that close the port where nobody else holds it open."""
