"""What commands print: text tables in chronyc's manner, from the admin API's answers."""

from collections.abc import Iterable, Sequence
from typing import Any

_DAY = 86400


def keys_status(status: dict[str, Any]) -> str:
    """Return `ntspool keys status`: the epochs, then what every backend has proved."""
    now = status["now"]
    numbers = [epoch["epoch"] for epoch in status["epochs"]]
    epochs = [
        (str(each["epoch"]), age(now - each["created"]), each["state"], str(each["sessions"]))
        for each in status["epochs"]
    ]
    ended = [(str(each["epoch"]), age(now - each["ended"]), each["state"], "-") for each in status["ended"][:5]]
    backends = [
        (
            each["backend"],
            each["address"],
            each["state"],
            *(_proof(each["proved"].get(str(number)), now) for number in numbers),
            "-" if each["minting"] is None else str(each["minting"]),
        )
        for each in status["backends"]
    ]
    rotate = "by command only" if status["rotate"] is None else f"every {age(status['rotate'])}"
    parts = [
        f"Rotation: {rotate}, last {age(now - status['rotated'])} ago; cookies are good for {age(status['life'])}\n",
        table(("Epoch", "Age", "State", "Sessions"), [*reversed(epochs), *ended], right={0, 1, 3}),
        table(("Backend", "Address", "State", *map(str, numbers), "Mints"), backends, right=range(3, 4 + len(numbers))),
    ]
    agents = [_agent(each, now) for each in status["agents"]]
    if agents:
        parts.append(table(("Agent", "Seen", "Reported", "Keys", "Failure"), agents, right=(1, 2)))
    waits = {each["backend"]: each["waits"] for each in status["backends"] if each["waits"]}
    if waits:
        parts.append("".join(f"A rotation waits for {name}: {reason}\n" for name, reason in waits.items()))
    return "\n".join(parts)


def current_epoch(status: dict[str, Any]) -> int:
    """Return the number of the current epoch."""
    return int(next(each["epoch"] for each in status["epochs"] if each["state"] == "current"))


def age(seconds: float) -> str:
    """Return a duration as chronyc spells it: in the largest unit of which there are two or more, at most four wide."""
    for unit, length in (("y", 365 * _DAY), ("d", _DAY), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(max(0, seconds))}s"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Return a table with a rule below its head; columns are as wide as they must be, those of `right` end flush."""
    aligned = set(right)
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = (
            cell.rjust(width) if column in aligned else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    lines = [line(head), "=" * (sum(widths) + 2 * (len(widths) - 1)), *map(line, rows)]
    return "\n".join(lines) + "\n"


def _agent(agent: dict[str, Any], now: float) -> tuple[str, ...]:
    proved = ",".join(map(str, agent["proved"])) or "-"
    return (agent["backend"], age(now - agent["seen"]), _proof(agent["reported"], now), proved, agent["failure"] or "-")


def _proof(since: float | None, now: float) -> str:
    return "-" if since is None else age(now - since)
