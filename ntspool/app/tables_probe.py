"""What `ntspool probe` prints: all that one probe of each address of a backend found."""

from collections.abc import Iterator, Sequence
from typing import Any

from ntspool.app.tables import Rows, lines, span

CSV_HEAD = (
    "address",
    "port",
    "sent",
    "good",
    "aead",
    "aead_good",
    "cause",
    "cookies",
    "offset",
    "delay",
    "root_distance",
    "stratum",
)


def went_well(found: Sequence[dict[str, Any]]) -> bool:
    """Tell whether every address that could be probed was good with every AEAD, and some could."""
    sent = [each for each in found if each["sent"]]
    return bool(sent) and all(each["good"] and all(aead["good"] for aead in each["aeads"]) for each in sent)


def probe_page(found: Sequence[dict[str, Any]]) -> str:
    """Return a paragraph for each address."""
    return "\n".join(lines(_lines(each)) for each in found) or "no address to probe\n"


def probe_rows(found: Sequence[dict[str, Any]]) -> Rows:
    """Return the header and the rows of CSV, one for each address and AEAD."""
    rows = []
    for each in found:
        for aead in each["aeads"] or [{"aead": None, "good": None, "cause": None, "cookies": None}]:
            told = {**each, **aead, "good": each["good"], "aead_good": aead["good"]}
            rows.append([told[key] for key in CSV_HEAD])
    return CSV_HEAD, rows


def _lines(probe: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "Address", f"{probe['address']} port {probe['port']}"
    if not probe["sent"]:
        yield "Result", "not probed: this machine has no way there"
        return
    yield "Result", "good" if probe["good"] else "NOT good"
    for each in probe["aeads"]:
        yield each["aead"], f"good, cookies: {each['cookies']}" if each["good"] else each["cause"]
    for each in probe["epochs"]:
        yield f"Epoch {each['epoch']}", _epoch(each)
    if probe["stratum"] is not None:
        yield "Stratum", str(probe["stratum"])
        yield "Offset", span(probe["offset"], signed=True)
        yield "Delay", span(probe["delay"])
        yield "Root distance", span(probe["root_distance"])


def _epoch(epoch: dict[str, Any]) -> str:
    if not epoch["accepted"]:
        return "refused, it has not this key"
    return "opened" + (f", answered with cookies of epoch {epoch['mints']}" if epoch["mints"] is not None else "")
