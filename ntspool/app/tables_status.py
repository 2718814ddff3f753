"""What `ntspool status` prints: the gateway on one screen, what is wrong with it first."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ntspool.app.problems import overdue_rotation, problems
from ntspool.app.tables import Rows, age, current_epoch, lines, percent
from ntspool.app.tables_events import events_table

_MOST = 10
"""How many problems fit on the screen."""

CSV_HEAD = (
    "version",
    "now",
    "started",
    "revision",
    "ready",
    "backends",
    "backends_up",
    "backends_drain",
    "backends_maint",
    "panicking",
    "vote",
    "sessions",
    "sessions_ok",
    "turned_away",
    "rate",
    "open",
    "epoch",
    "rotated",
    "next_rotation",
    "certificate_not_after",
    "workers",
    "workers_wanted",
    "problems",
)


def status_page(view: dict[str, Any], events: list[dict[str, Any]]) -> str:
    """Return the page; `events` are the newest ones, the last one last."""
    page = lines(_lines(view))
    return f"{page}\n{events_table(events)}" if events else page


def status_rows(view: dict[str, Any]) -> Rows:
    """Return the header of CSV and its one row; `next_rotation` is empty where only commands rotate."""
    states = Counter(each["state"] for each in view["backends"])
    sessions, keys, workers = view["sessions"], view["keys"], view["workers"]
    row = {
        **{key: view[key] for key in ("version", "now", "started", "revision", "ready", "vote")},
        "backends": len(view["backends"]),
        "backends_up": states["UP"],
        "backends_drain": states["DRAIN"],
        "backends_maint": states["MAINT"],
        "panicking": " ".join(view["panicking"]),
        "sessions": sum(sessions["outcomes"].values()),
        "sessions_ok": sessions["outcomes"].get("ok", 0),
        "turned_away": sum(sessions["turned_away"].values()),
        "rate": sessions["rate"],
        "open": sessions["open"],
        "epoch": current_epoch(keys),
        "rotated": keys["rotated"],
        "next_rotation": None if keys["rotate"] is None else keys["rotated"] + keys["rotate"],
        "certificate_not_after": min((each["not_after"] for each in view["certificates"]), default=None),
        "workers": len(workers["pids"]),
        "workers_wanted": workers["wanted"],
        "problems": len(problems(view)),
    }
    return CSV_HEAD, [tuple(row[key] for key in CSV_HEAD)]


def counts(numbers: Mapping[str, int]) -> str:
    """Return counts by name, the largest first and none that is 0, on one line."""
    ordered = sorted(numbers.items(), key=lambda item: -item[1])
    return ", ".join(f"{number} {name}" for name, number in ordered if number) or "none"


def _lines(view: dict[str, Any]) -> Iterator[tuple[str, str]]:
    now, sessions, workers = view["now"], view["sessions"], view["workers"]
    found = problems(view)
    up = age(now - view["started"])
    yield "Gateway", f"ntspool {view['version']}, up {up}, revision {view['revision']}"
    yield "Ready", "yes" if view["ready"] else "NOT ready"
    for problem in found[:_MOST]:
        yield "Problem", problem
    if len(found) > _MOST:
        yield "Problem", f"and {len(found) - _MOST} more, see `ntspool backends`"
    yield "Names", ", ".join(view["names"])
    yield "Listening", ", ".join(view["listen"])
    yield "Backends", _backends(view)
    yield "Offset vote", view["vote"]
    yield "Panic", ", ".join(view["panicking"]) or "no"
    total, ok = sum(sessions["outcomes"].values()), sessions["outcomes"].get("ok", 0)
    yield "Sessions", f"{sessions['rate']:.1f}/s over the last minute, {sessions['open']} open"
    yield "Since start", f"{total}, {percent(ok / total)} ok: {counts(sessions['outcomes'])}" if total else "none"
    yield "Turned away", counts(sessions["turned_away"])
    yield from _keys(view["keys"])
    for each in view["certificates"]:
        left = each["not_after"] - now
        ends = f"{age(left)} left" if left > 0 else f"expired {age(-left)} ago"
        yield "Certificate", f"{ends}, for {', '.join(each['names'])}"
    if view.get("publishing"):
        yield "DNS", _publishing(view["publishing"], now)
    died = f"{workers['deaths']} died, {workers['replaced']} replaced"
    yield "Workers", f"{len(workers['pids'])} of {workers['wanted']}, {died}"


def _publishing(publishing: dict[str, Any], now: float) -> str:
    names, server = ", ".join(publishing["names"]), publishing["server"]
    if publishing["checked"] is None:
        return f"{names}: not published yet at {server}"
    leads = "leads here" if publishing["shown"] else "does NOT lead here"
    return f"{names} {leads}, seen {age(now - publishing['checked'])} ago at {server}"


def _backends(view: dict[str, Any]) -> str:
    addresses = [
        (":" in one["address"], one["up"] and each["state"] == "UP")
        for each in view["backends"]
        for one in each["addresses"]
    ]
    families = []
    for is_v6, family in enumerate(("IPv4", "IPv6")):
        ups = [up for v6, up in addresses if v6 == is_v6]
        if ups:
            families.append(f"{family} {sum(ups)}/{len(ups)}")
    states = Counter(each["state"] for each in view["backends"])
    rest = "".join(f", {states[each]} {each}" for each in ("DOWN", "DRAIN", "MAINT") if states[each])
    return f"{states['UP']} of {len(view['backends'])} UP{rest}" + (f"; {', '.join(families)}" if families else "")


def _keys(keys: dict[str, Any]) -> Iterator[tuple[str, str]]:
    overdue = overdue_rotation(keys)
    if keys["rotate"] is None:
        due = "rotated by command only"
    elif overdue is None:
        due = f"next rotation in {age(keys['rotated'] + keys['rotate'] - keys['now'])}"
    else:
        due = f"rotation due since {age(overdue)}"
    yield "Keys", f"epoch {current_epoch(keys)} current for {age(keys['now'] - keys['rotated'])}, {due}"
    waits = {each["backend"]: each["waits"] for each in keys["backends"] if each["waits"]}
    waits |= keys.get("cluster", {}).get("waits", {})
    for name, reason in waits.items():
        yield "Rotation waits", f"for {name}: {reason}"
