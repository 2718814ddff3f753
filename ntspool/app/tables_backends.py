"""What `ntspool backends` and `ntspool backend show` print."""

from collections.abc import Iterator
from typing import Any

from ntspool.app.tables import Rows, age, ago, lines, percent, span, table
from ntspool.pool.causes import Cause

_RIGHT = range(3, 12)
_SILENT = {str(each) for each in (Cause.NOT_PROBED, Cause.NO_ANSWER, Cause.REFUSED, Cause.UNREACHABLE)}
CSV_HEAD = (
    "name",
    "state",
    "admin",
    "since",
    "weight",
    "effective_weight",
    "address",
    "port",
    "address_state",
    "up",
    "cause",
    "offset",
    "delay",
    "root_distance",
    "stratum",
    "checked",
    "answered",
    "probes",
    "failures",
    "keys",
    "sessions",
    "share",
    "fair_share",
    "minting",
    "cookies",
    "key_group",
    "regions",
)


def backends_table(view: dict[str, Any], *, numeric: bool) -> str:
    """Return `ntspool backends`: a row for each address, what needs somebody first; `numeric` shows the addresses."""
    place = "Address" if numeric else "IP"
    head = ("Name", "State", place, "Wght", "Chk", "Offset", "Delay", "St")
    own = ("Sessions", "Share", "Fair", "Epoch", "Cause")
    rows = [
        row for each in sorted(view["backends"], key=_severity) for row in _rows(each, view["now"], numeric=numeric)
    ]
    return table((*head, *own), rows, right=_RIGHT)


def backends_rows(backends: list[dict[str, Any]]) -> Rows:
    """Return the header and the rows of CSV, one for each address, in the order of the configuration."""
    return CSV_HEAD, [row for each in backends for row in _csv_rows(each)]


def backend_page(backend: dict[str, Any], now: float) -> str:
    """Return `ntspool backend show`: all that is known of one backend."""
    told = [
        ("Name", backend["name"]),
        ("State", f"{shown_state(backend)} for {age(now - backend['since'])}"),
        ("Cause", backend["cause"] or "-"),
        ("Administration", backend["admin"]),
        ("Weight", weight(backend)),
        ("Cookies", _cookies(backend)),
        ("Regions", ", ".join(backend["regions"]) or "-"),
        ("Sessions", f"{backend['sessions']}, {percent(backend['share'])} of all; {_fair(backend)} now"),
    ]
    addresses = [_address_row(each, now) for each in backend["addresses"]]
    head = ("Address", "Port", "State", "Chk", "Good", "Offset", "Delay", "Distance", "St", "Probes", "Failed", "Cause")
    checks = [
        (each["address"], check["aead"], check["state"], check["cause"] or "-")
        for each in backend["addresses"]
        for check in each["aeads"]
    ]
    failed = [
        (each["address"], cause, str(number))
        for each in backend["addresses"]
        for cause, number in sorted(each["failures_by_cause"].items(), key=lambda item: -item[1])
    ]
    parts = [lines(told), table(head, addresses, right=(1, *range(3, 11)))]
    parts.append(table(("Address", "AEAD", "State", "Cause"), checks))
    if failed:
        parts.append(table(("Address", "Failed by", "Probes"), failed, right=(2,)))
    return "\n".join(parts)


def _cookies(backend: dict[str, Any]) -> str:
    if backend["ke"]:
        return f"{backend['cookies']}, made by its own key exchange at {backend['ke']}"
    minted = "no epoch" if backend["minting"] is None else f"epoch {backend['minting']}"
    return f"{backend['cookies']}, key group {backend['key_group']}, minted under {minted}"


def sentence(backend: dict[str, Any]) -> str:
    """Return what holds of a backend after a command."""
    stated = "" if backend["admin"] == "ready" else f" ({backend['admin']} until `ntspool backend ready`)"
    return f"{backend['name']}: {shown_state(backend)}, weight {weight(backend)}{stated}\n"


def shown_state(backend: dict[str, Any]) -> str:
    """Return a backend's state in HAProxy's words; one on its way shows how far it is."""
    addresses = backend["addresses"]
    return _state(backend, addresses[0]) if len(addresses) == 1 else str(backend["state"])


def _state(backend: dict[str, Any], address: dict[str, Any]) -> str:
    """Return the state of one address; it answers, yet is DOWN, while no epoch of its backend's keys is proved."""
    told = backend["admin"] == "ready" and not (backend["state"] == "DOWN" and address["up"])
    return str(address["state"] if told else backend["state"])


def weight(backend: dict[str, Any]) -> str:
    """Return a backend's weight, `5/10` where 5 of the declared 10 hold now."""
    stated, now = str(backend["weight"]), f"{backend['effective_weight']:g}"
    return stated if stated == now else f"{now}/{stated}"


def _severity(backend: dict[str, Any]) -> int:
    """Return what sorts backends by how much they need somebody; those alike stay in the order of the configuration."""
    if backend["admin"] != "ready":
        return 2
    if backend["state"] == "DOWN":
        return 0
    well = all(each["up"] and not _causes(each) for each in backend["addresses"])
    return 3 if well and backend["addresses"] else 1


def _rows(backend: dict[str, Any], now: float, *, numeric: bool) -> Iterator[tuple[str, ...]]:
    own = (
        str(backend["sessions"]),
        percent(backend["share"]),
        percent(backend["fair_share"]),
        "-" if backend["minting"] is None else str(backend["minting"]),
    )
    first = True
    for each in backend["addresses"]:
        yield (
            backend["name"] if first else "",
            _state(backend, each),
            _place(each) if numeric else _family(each),
            weight(backend) if first else "",
            ago(each["checked"], now),
            *_measured(each),
            *(own if first else ("",) * len(own)),
            "; ".join(_causes(each)),
        )
        first = False
    if first:
        yield (backend["name"], backend["state"], "-", weight(backend), "-", "-", "-", "-", *own, backend["cause"])


def _measured(address: dict[str, Any]) -> tuple[str, str, str]:
    """Return what was measured last, of an address that is still there to be measured."""
    if address["stratum"] is None or (not address["up"] and address["kind"] in _SILENT):
        return "-", "-", "-"
    return span(address["offset"], signed=True), span(address["delay"]), str(address["stratum"])


def _causes(address: dict[str, Any]) -> list[str]:
    """Return all that is wrong at an address, each thing once."""
    found = [address["cause"]]
    found += [f"{each['aead']}: {each['cause']}" for each in address["aeads"] if each["cause"] not in {"", found[0]}]
    found += [address["keys"] or ""]
    return list(dict.fromkeys(filter(None, found)))


def _place(address: dict[str, Any]) -> str:
    if address["port"] == 123:
        return str(address["address"])
    host = f"[{address['address']}]" if ":" in address["address"] else address["address"]
    return f"{host}:{address['port']}"


def _family(address: dict[str, Any]) -> str:
    return "v6" if ":" in address["address"] else "v4"


def _fair(backend: dict[str, Any]) -> str:
    return f"its weight gives it {percent(backend['fair_share'])}"


def _address_row(address: dict[str, Any], now: float) -> tuple[str, ...]:
    return (
        address["address"],
        str(address["port"]),
        address["state"],
        ago(address["checked"], now),
        ago(address["answered"], now),
        span(address["offset"], signed=True),
        span(address["delay"]),
        span(address["root_distance"]),
        "-" if address["stratum"] is None else str(address["stratum"]),
        str(address["probes"]),
        str(address["failures"]),
        "; ".join(dict.fromkeys(filter(None, (address["cause"], address["keys"])))),
    )


def _csv_rows(backend: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    empty = dict.fromkeys(("address", "port", "state", "up", "cause", "offset", "delay", "root_distance", "stratum"))
    empty |= dict.fromkeys(("checked", "answered", "probes", "failures", "keys"))
    for each in backend["addresses"] or [empty]:
        spelt = {
            **backend,
            **{key: each[key] for key in empty if key not in {"state", "cause"}},
            "address_state": each["state"],
            "cause": each["cause"] or backend["cause"],
            "regions": " ".join(backend["regions"]),
        }
        yield tuple(spelt[key] for key in CSV_HEAD)
