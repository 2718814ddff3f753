"""The log's one line a session: as structlog would write it, for a third of the cost.

Sessions that fail are cheap for whoever makes them do so: beyond MOST_FAILED in an INTERVAL they are only counted, and
told of together. At level debug each has its line.
"""

import json
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import structlog

from ntspool.net.session import Outcome, Report
from ntspool.net.system import for_people, stderr
from ntspool.pool.model import LogSettings

INTERVAL: Final = 10.0
"""Seconds."""

MOST_FAILED: Final = 100

log = structlog.get_logger()

_quoted = lru_cache(maxsize=1024)(json.dumps)


class SessionLog:
    """Writes a line for each session, to standard error and by `settings`.

    JSON lines are collected, and written together by `flush`: at the end of the loop's turn, for which `soon` calls
    it, or when the owner does. They bear the time of that moment. Call `sweep` now and then, so that what was only
    counted is told; `clock` returns seconds and never goes back.
    """

    def __init__(
        self,
        settings: LogSettings,
        soon: Callable[[Callable[[], None]], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._addresses = settings.client_addresses
        self._people = for_people(settings)
        self._silent = settings.level not in ("debug", "info")
        self._thorough = settings.level == "debug"
        self._soon = soon
        self._clock = clock
        self._began = clock()
        self._failed: Counter[Outcome] = Counter()
        self._lines: list[str] = []

    def write(self, report: Report, peer: str, seconds: float) -> None:
        """Tell how the session of the client at `peer` went and how long it took."""
        if self._silent or (report.outcome is not Outcome.OK and not self._may_fail(report.outcome)):
            return
        client = peer if self._addresses else ""
        if self._people:
            log.info("session", **_words(report, client, seconds))
            return
        if not self._lines:
            self._soon(self.flush)
        self._lines.append(_json(report, client, seconds))

    def sweep(self) -> None:
        """Tell how many sessions failed without a line, once an interval is over."""
        now = self._clock()
        if now - self._began < INTERVAL:
            return
        if (untold := self._failed.total() - MOST_FAILED) > 0:
            outcomes = {str(outcome): number for outcome, number in self._failed.items()}
            log.warning("more sessions failed than are told", untold=untold, seconds=INTERVAL, outcomes=outcomes)
        self._began = now
        self._failed.clear()

    def _may_fail(self, outcome: Outcome) -> bool:
        """Count a session that failed; tell whether it has a line."""
        self.sweep()
        self._failed[outcome] += 1
        return self._thorough or self._failed.total() <= MOST_FAILED

    def flush(self) -> None:
        """Write what was collected."""
        if self._lines:
            now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
            tail = f', "event": "session", "level": "info", "timestamp": "{now}"}}\n'
            lines, self._lines = [*self._lines, ""], []
            stderr.write(tail.join(lines))


def _words(report: Report, client: str, seconds: float) -> dict[str, object]:
    words: dict[str, object] = {"name": report.server_name, "outcome": report.outcome, "ms": round(seconds * 1000, 1)}
    if report.reason:
        words["reason"] = report.reason
    choice = report.answer.choice if report.answer else None
    if choice is not None:
        words |= {
            "backend": choice.serving.backend.name,
            "address": choice.address,
            "aead": choice.aead.value,
            **choice.why(),
        }
    if client:
        words["client"] = client
    return words


def _json(report: Report, client: str, seconds: float) -> str:
    """Return `_words` in JSON, but for the end of the object."""
    line = f'{{"name": {_quoted(report.server_name)}, "outcome": "{report.outcome}", "ms": {seconds * 1000:.1f}'
    if report.reason:
        line += f', "reason": {_quoted(report.reason)}'
    choice = report.answer.choice if report.answer else None
    if choice is not None:
        line += f', "backend": {_quoted(choice.serving.backend.name)}'
        line += f', "address": "{choice.address}", "aead": {choice.aead:d}'
        for key, word in choice.why().items():
            line += f', "{key}": {json.dumps(word)}'
    return f'{line}, "client": {_quoted(client)}' if client else line
