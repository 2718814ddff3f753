"""What commands print: text tables in chronyc's manner, from the admin API's answers."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

Rows = tuple[Sequence[str], Sequence[Sequence[object]]]
"""The header of a CSV file, and its rows: numbers in base units, None for what is not known."""

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
            *(ago(each["proved"].get(str(number)), now) for number in numbers),
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
    cluster = status.get("cluster", {})
    waits = {each["backend"]: each["waits"] for each in status["backends"] if each["waits"]} | cluster.get("waits", {})
    if waits:
        parts.append("".join(f"A rotation waits for {name}: {reason}\n" for name, reason in waits.items()))
    if cluster.get("away"):
        parts.append(f"Rotation pauses, for the cluster's store is away: {cluster['away']}\n")
    return "\n".join(parts)


KEYS_HEAD = ("backend", "address", "state", "minting", "epoch", "epoch_state", "proved", "waits")


def keys_rows(status: dict[str, Any]) -> Rows:
    """Return the header and the rows of CSV, one for each address and living epoch; `proved` is when, Unix seconds."""
    told = [
        (
            *(each[key] for key in ("backend", "address", "state", "minting")),
            *(epoch[key] for key in ("epoch", "state")),
            each["proved"].get(str(epoch["epoch"])),
            each["waits"],
        )
        for each in status["backends"]
        for epoch in status["epochs"]
    ]
    return KEYS_HEAD, told


def current_epoch(status: dict[str, Any]) -> int:
    """Return the number of the current epoch."""
    return int(next(each["epoch"] for each in status["epochs"] if each["state"] == "current"))


def age(seconds: float) -> str:
    """Return a duration as chronyc spells it: in the largest unit of which there are two or more, at most four wide."""
    for unit, length in (("y", 365 * _DAY), ("d", _DAY), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(max(0, seconds))}s"


def moment(time: float) -> str:
    """Return a moment as UTC to the second, as logs spell it."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ago(time: float | None, now: float) -> str:
    """Return how long ago `time` was, `-` for never."""
    return "-" if time is None else age(now - time)


def span(seconds: float | None, *, signed: bool = False) -> str:
    """Return a short time as chronyc spells it, `+123us`: in the smallest unit that takes at most four digits."""
    if seconds is None:
        return "-"
    sign = ("-" if seconds < 0 else "+") if signed else ""
    for unit, length in (("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3)):
        if abs(seconds) / length < 9999.5:
            return f"{sign}{abs(seconds) / length:.0f}{unit}"
    return f"{sign}{abs(seconds):.0f}s"


def percent(part: float) -> str:
    """Return a part of one in percent."""
    return f"{100 * part:.1f}%"


def lines(pairs: Iterable[tuple[str, str]]) -> str:
    """Return what `chronyc tracking` looks like: a label and a value on each line."""
    told = list(pairs)
    width = max(15, *(len(label) for label, _ in told))
    return "".join(f"{label:<{width}} : {value}\n" for label, value in told)


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

    drawn = [line(head), "=" * (sum(widths) + 2 * (len(widths) - 1)), *map(line, rows)]
    return "\n".join(drawn) + "\n"


def _agent(agent: dict[str, Any], now: float) -> tuple[str, ...]:
    proved = ",".join(map(str, agent["proved"])) or "-"
    return (agent["backend"], age(now - agent["seen"]), ago(agent["reported"], now), proved, agent["failure"] or "-")
