"""Where a gateway lays out the keys for its agents, and keeps what they report."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ntspool.pool.cookies import CookieFormat
from ntspool.pool.keyfiles import KeySet


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one backend's daemon is to hold now; `revision` is a word that changes when anything of it does."""

    revision: str
    cookies: CookieFormat
    keys: KeySet


@dataclass(frozen=True, slots=True)
class AgentReport:
    """What an agent said last, at `time` (Unix seconds): of the delivery `revision` it proved the keys of these ids.

    `failure` is None, or the agent's words about what does not work: printable, short, and not to be trusted.
    """

    time: float
    revision: str
    proved: tuple[int, ...]
    failure: str | None


class KeyDesk:
    """The deliveries of one gateway; `publish` replaces them, `wait` hands them out, `record` and `see` take notes.

    `on_report` is called with the backend's name after every report. `holds_back` tells whether an agent that has the
    revision it is given, or None, is to keep what it has: other gateways may know newer keys. Call `publish` when that
    ends. For one event loop: no method may be called from another thread.
    """

    def __init__(
        self,
        on_report: Callable[[str], None] = lambda _backend: None,
        holds_back: Callable[[str | None], bool] = lambda _after: False,
    ) -> None:
        self._on_report = on_report
        self._holds_back = holds_back
        self._deliveries: Mapping[str, Delivery] = {}
        self._changed = asyncio.Event()
        self._reports: dict[str, AgentReport] = {}
        self._seen: dict[str, float] = {}

    @property
    def reports(self) -> Mapping[str, AgentReport]:
        """The last report of every agent that ever made one, by backend name."""
        return MappingProxyType(self._reports)

    @property
    def seen(self) -> Mapping[str, float]:
        """When every agent last asked for something, in Unix seconds, by backend name."""
        return MappingProxyType(self._seen)

    def publish(self, deliveries: Mapping[str, Delivery]) -> None:
        """Replace what is handed out, by backend name; those who wait for something new get it at once."""
        self._deliveries = dict(deliveries)
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, backend: str, after: str | None, timeout: float) -> Delivery | None:
        """Return the backend's delivery once its revision is not `after`; None when that takes over `timeout` seconds.

        A backend for which nothing is laid out waits as well.
        """
        try:
            async with asyncio.timeout(timeout):
                while True:
                    delivery = self._deliveries.get(backend)
                    if delivery is not None and delivery.revision != after and not self._holds_back(after):
                        return delivery
                    await self._changed.wait()
        except TimeoutError:
            return None

    def record(self, backend: str, report: AgentReport) -> None:
        """Keep an agent's report in place of its last one."""
        self._reports[backend] = report
        self._on_report(backend)

    def see(self, backend: str, now: float) -> None:
        """Note that the backend's agent asked for something at Unix time `now`."""
        self._seen[backend] = now
