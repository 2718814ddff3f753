"""What `ntspool events` prints: one line an event, in columns that hold while events come in one by one."""

from collections.abc import Sequence
from typing import Any

from ntspool.app.tables import moment

CSV_HEAD = ("number", "time", "event", "level", "subject", "cause", "before", "after")
_WIDTHS = (20, 7, 22, 24, 14)  # time, level, event, subject, change; what is longer pushes its own line only
_TOLD = ("Time", "Level", "Event", "Subject", "Change", "Cause")


def events_head() -> str:
    """Return the two lines above the events."""
    head = _line(_TOLD)
    return f"{head}\n{'=' * (sum(_WIDTHS) + 2 * len(_WIDTHS) + len(_TOLD[-1]))}\n"


def event_line(event: dict[str, Any]) -> str:
    """Return one event as a line."""
    change = " -> ".join(filter(None, (event["before"], event["after"]))) or "-"
    cells = (moment(event["time"]), event["level"], event["event"], event["subject"] or "-", change, event["cause"])
    return f"{_line(cells)}\n"


def events_table(events: Sequence[dict[str, Any]]) -> str:
    """Return the events below their head."""
    return events_head() + "".join(map(event_line, events))


def event_row(event: dict[str, Any]) -> tuple[object, ...]:
    """Return an event as a row of CSV."""
    return tuple(event[key] for key in CSV_HEAD)


def _line(cells: Sequence[str]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=False)]
    return "  ".join([*padded, cells[-1]]).rstrip()
