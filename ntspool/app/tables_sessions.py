"""What `ntspool sessions` and `ntspool agents` print."""

from collections.abc import Iterator, Mapping
from typing import Any

from ntspool.app.tables import Rows, age, ago, lines, percent, span, table
from ntspool.app.tables_backends import weight

_QUANTILES = (0.5, 0.95, 0.99)
SESSIONS_HEAD = ("kind", "name", "sessions", "share", "fair_share")
AGENTS_HEAD = ("backend", "seen", "reported", "proved", "behind", "failure")

_Agent = tuple[str, float | None, float | None, list[int], list[int], str]
"""A row of AGENTS_HEAD."""


def sessions_page(view: dict[str, Any]) -> str:
    """Return how many sessions there were, how they ended, and who got them."""
    sessions = view["sessions"]
    total = sum(sessions["outcomes"].values())
    head = [
        ("Rate", f"{sessions['rate']:.1f}/s over the last minute"),
        ("Open now", str(sessions["open"])),
        ("Since start", f"{total} in {age(view['now'] - view['started'])}"),
        ("Duration", _durations(sessions["duration"])),
    ]
    parts = [lines(head), _tally("Outcome", sessions["outcomes"])]
    for title, key in (("Not ok because of", "reasons"), ("Turned away by", "turned_away"), ("AEAD", "aeads")):
        if any(sessions[key].values()):
            parts.append(_tally(title, sessions[key]))
    shares = [
        (each["name"], each["state"], weight(each), str(each["sessions"]), percent(each["share"]), _fair(each))
        for each in view["backends"]
    ]
    parts.append(table(("Backend", "State", "Wght", "Sessions", "Share", "Fair"), shares, right=range(2, 6)))
    return "\n".join(parts)


def sessions_rows(view: dict[str, Any]) -> Rows:
    """Return the header and the rows of CSV; `share` is a part of its kind, from 0 to 1."""
    kinds = (("outcome", "outcomes"), ("reason", "reasons"), ("turned away", "turned_away"), ("aead", "aeads"))
    rows: list[tuple[object, ...]] = []
    for kind, key in kinds:
        rows += [(kind, name, number, share, None) for name, number, share in _shares(view["sessions"][key])]
    rows += [
        ("backend", each["name"], each["sessions"], each["share"], each["fair_share"]) for each in view["backends"]
    ]
    return SESSIONS_HEAD, rows


def agents_table(keys: dict[str, Any]) -> str:
    """Return who carries which backend's keys; `Behind` are current and next epochs that the agent has not proved."""
    now = keys["now"]
    rows = [
        (name, ago(seen, now), ago(reported, now), _numbers(proved), _numbers(behind), failure)
        for name, seen, reported, proved, behind, failure in _agents(keys)
    ]
    return table(("Backend", "Seen", "Reported", "Proved", "Behind", "Failure"), rows, right=(1, 2))


def agents_rows(keys: dict[str, Any]) -> Rows:
    """Return the header and the rows of CSV; epochs are set apart by spaces."""
    rows: list[tuple[object, ...]] = [
        (name, seen, reported, " ".join(map(str, proved)), " ".join(map(str, behind)), failure)
        for name, seen, reported, proved, behind, failure in _agents(keys)
    ]
    return AGENTS_HEAD, rows


def _agents(keys: dict[str, Any]) -> Iterator[_Agent]:
    """Yield every backend's agent, those first that are behind or have never been seen."""
    wanted = [each["epoch"] for each in keys["epochs"] if each["state"] in {"current", "next"}]
    seen = {each["backend"]: each for each in keys["agents"]}
    names = dict.fromkeys([*(each["backend"] for each in keys["backends"]), *seen])
    found: list[_Agent] = []
    for name in names:
        agent = seen.get(name)
        if agent is None:
            found.append((name, None, None, [], wanted, "no agent has asked since the gateway's start"))
            continue
        behind = [epoch for epoch in wanted if epoch not in agent["proved"]]
        found.append((name, agent["seen"], agent["reported"], agent["proved"], behind, agent["failure"] or ""))
    yield from sorted(found, key=lambda each: (each[1] is not None, not each[5], not each[4]))


def _tally(title: str, numbers: Mapping[str, int]) -> str:
    rows = [(name, str(number), percent(share)) for name, number, share in _shares(numbers)]
    return table((title, "Sessions", "Share"), rows, right=(1, 2))


def _shares(numbers: Mapping[str, int]) -> list[tuple[str, int, float]]:
    total = sum(numbers.values())
    ordered = sorted(numbers.items(), key=lambda item: -item[1])
    return [(name, number, number / total if total else 0.0) for name, number in ordered]


def _durations(histogram: dict[str, Any]) -> str:
    """Return within which time how many sessions were over, as far as the histogram's bounds tell."""
    if not histogram["count"]:
        return "-"
    told = [f"mean {span(histogram['sum'] / histogram['count'])}"]
    for quantile in _QUANTILES:
        wanted = quantile * histogram["count"]
        reached = [
            bound for bound, number in zip(histogram["bounds"], histogram["counts"], strict=True) if number >= wanted
        ]
        longest = histogram["bounds"][-1]
        told.append(f"{quantile:.0%} in {span(reached[0])}" if reached else f"{quantile:.0%} over {span(longest)}")
    return ", ".join(told)


def _numbers(epochs: list[int]) -> str:
    return ",".join(map(str, epochs)) or "-"


def _fair(backend: dict[str, Any]) -> str:
    return percent(backend["fair_share"])
