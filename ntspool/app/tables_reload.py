"""What `ntspool reload` prints: the difference that it made."""

from typing import Any

from ntspool.app.tables import Rows

CSV_HEAD = ("key", "before", "after", "restart")


def reload_page(answer: dict[str, Any]) -> str:
    """Return a line for each difference, then what is left to do."""
    waiting = answer["restart"]
    done = "reloaded" + (f"; a restart is needed for {', '.join(waiting)}" if waiting else "")
    return "".join(f"{_line(each)}\n" for each in answer["changes"]) + f"{done}\n"


def reload_rows(answer: dict[str, Any]) -> Rows:
    """Return the header and the rows of CSV: what was taken over, and what needs a restart."""
    rows = [(each["key"], each["before"], each["after"], False) for each in answer["changes"]]
    return CSV_HEAD, [*rows, *((key, "", "", True) for key in answer["restart"])]


def _line(change: dict[str, Any]) -> str:
    return f"{change['key']}: {change['before'] or 'nothing'} -> {change['after'] or 'nothing'}"
