"""The log's one line a session: as structlog would write it, for a third of the cost."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

import structlog

from ntspool.net.session import Report
from ntspool.net.system import for_people, stderr
from ntspool.pool.model import LogSettings

log = structlog.get_logger()

_quoted = lru_cache(maxsize=1024)(json.dumps)


class SessionLog:
    """Writes a line for each session, to standard error and by `settings`.

    JSON lines are collected, and written together by `flush`: at the end of the loop's turn, for which `soon` calls
    it, or when the owner does. They bear the time of that moment.
    """

    def __init__(self, settings: LogSettings, soon: Callable[[Callable[[], None]], object]) -> None:
        self._addresses = settings.client_addresses
        self._people = for_people(settings)
        self._silent = settings.level not in ("debug", "info")
        self._soon = soon
        self._lines: list[str] = []

    def write(self, report: Report, peer: str, seconds: float) -> None:
        """Tell how the session of the client at `peer` went and how long it took."""
        if self._silent:
            return
        client = peer if self._addresses else ""
        if self._people:
            log.info("session", **_words(report, client, seconds))
            return
        if not self._lines:
            self._soon(self.flush)
        self._lines.append(_json(report, client, seconds))

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
