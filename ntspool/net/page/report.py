"""A report as one HTML document that needs nothing else: for a browser, a printer and a file."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import resources

from ntspool.net.page import reportplots
from ntspool.net.page.markup import Child, Markup, element, join
from ntspool.net.page.wording import NONE, count, measured, moment, span
from ntspool.pool.report import AddressReport, Report, Spread
from ntspool.pool.sketch import ACCURACY
from ntspool.pool.view import EventView

KEY_EVENTS = ("keys rotated", "epoch revoked", "keys behind", "keys current", "keyring encrypted")
"""The events that are about keys."""

MOST_EVENTS = 2000
"""Events of each kind that are listed, the newest."""


def document(report: Report) -> str:
    """Return the report."""
    title = f"Time report, {_day(report.period.start)} to {_day(report.period.end)}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("title", title),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("style", Markup(resources.files(__package__).joinpath("static", "report.css").read_text())),
    )
    keys = [each for each in report.events if each.event in KEY_EVENTS]
    rest = [each for each in report.events if each.event not in KEY_EVENTS]
    body = element(
        "body",
        element("header", element("h1", "Time report"), _period(report)),
        _section("In short", _availability(report), _offsets(report)),
        _section("What was measured, and what was not", *_method(report)),
        _section("Each address", *(_address(report, each) for each in report.addresses)),
        _section("Keys", _events(keys, "No key was rotated or revoked, and no backend's keys were behind.")),
        _section("Changes of configuration and state", _events(rest, "Nothing changed.")),
        element("footer", element("p", f"Made by ntspool {report.version} at ", moment(report.made), " UTC.")),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def limit_text(seconds: float) -> str:
    """Return a limit as it is asked for, `100 us`: in the largest unit of which it has one or more."""
    for unit, length in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= length * (1 - 1e-9):
            return f"{seconds / length:.6g} {unit}"
    return f"{seconds / 1e-9:.6g} ns"


def share(part: float) -> str:
    """Return a part of 1 in percent; only what is whole is 100 %, and only what is nothing 0 %."""
    percent = min(part * 100, 99.99) if part < 1 else 100.0
    shown = max(percent, 0.01) if part > 0 else 0.0
    return f"{shown:.4g}\N{NO-BREAK SPACE}%"


def _section(heading: str, *children: Child) -> Markup:
    return element("section", element("h2", heading), *children)


def _period(report: Report) -> Markup:
    period = report.period
    since = "nothing was recorded in it" if report.since is None else join("recorded since ", moment(report.since))
    return element(
        "p", moment(period.start), " to ", moment(period.end), f" UTC ({span(period.length)}); ", since, class_="period"
    )


def _availability(report: Report) -> Markup:
    head = ("Backend", "Address", "Watched", "UP", "Probes", "Good", "Not authenticated", "Stratum", "Follows")
    rows = [
        (
            each.where.backend,
            _place(each),
            share(each.observed / report.period.length),
            share(each.up / each.observed) if each.observed else NONE,
            count(each.probes),
            share(each.good / each.probes) if each.probes else NONE,
            count(each.authentication_failures),
            strata(each),
            follows(each),
        )
        for each in report.addresses
    ]
    return _table("Availability and references", head, rows, range(2, 7))


def _offsets(report: Report) -> Markup:
    limits = [limit_text(each).replace(" ", "\N{NO-BREAK SPACE}").replace("us", "µs") for each in report.limits]
    head = ("Backend", "Address", "Median", "95 %", "99 %", "Greatest", "Uncertainty")
    shares = [word for limit in limits for word in (f"within {limit}", f"surely within {limit}")]
    rows = [
        (each.where.backend, _place(each), *_spread(each.offset), _uncertainty(each), *_shares(each, len(shares)))
        for each in report.addresses
    ]
    caption = "Offset against the gateway's clock: median with its sign, the others by size; uncertainty: median"
    return _table(caption, (*head, *shares), rows, range(2, len(head) + len(shares)))


def _method(report: Report) -> Iterator[Markup]:
    for text in METHOD.strip().split("\n\n"):
        yield element("p", text)
    if report.exact:
        yield element("p", "All figures are exact: every single probe of the period was counted.")
    else:
        yield element("p", APPROXIMATE)


METHOD = """
The gateway asked each address for the time as a client would, by NTP protected by NTS (RFC 8915), and counted only
answers whose authenticator was valid. UP is what the gateway took the address for, from one probe to the next;
watched is for which part of the period it did. A good probe is one that a client would have been served by.

An offset is the backend's clock minus the clock of the gateway's own machine when the probe ended. So it is no better
than that clock: that the gateway itself follows UTC, by a traceable source, must be shown beside this report, for
example by its chronyd's logs. The offset against the majority of the backends, which does not depend on the gateway's
clock, is given with each address. A backend that called itself unsynchronised is in the counts and in no offset.

The uncertainty is RFC 5905's root distance as of the answer: half of the round trip between gateway and backend, half
of the root delay and the whole root dispersion that the backend states. The true offset lies within offset plus or
minus uncertainty if what the backend states is true, whatever the asymmetry of the paths. Surely within a limit is a
measurement whose offset and uncertainty together are.

This is the time that backends serve, seen from the gateway. It is not the time of the clients' clocks, which
regulation is about (MiFID II, RTS 25): what a client makes of it is for its own records to show.
"""
APPROXIMATE = (
    f"Figures are approximate in part: older probes are kept as hours of each address, whose quantiles are right to "
    f"{ACCURACY:.0%} of themselves. Counts, durations and the greatest offsets are exact."
)


def _address(report: Report, each: AddressReport) -> Markup:
    figures = [
        ("Against the majority: median / 95 % / 99 % / greatest", " / ".join(_spread(each.pool))),
        ("Uncertainty, greatest", NONE if each.uncertainty is None else measured(each.uncertainty[1])),
        ("Watched for", span(each.observed)),
        ("Not UP for", span(each.observed - each.up) if each.up < each.observed else "never"),
        ("Probes that were not good", failures(each) or "none"),
        ("Stratum and reference", follows(each, 5)),
    ]
    told = element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in figures))
    caption = (
        "Above: offset, its mean (line), lowest to highest (dark), and the mean's uncertainty (light); dashed: limits. "
        "Below: UP (full height, green), DOWN (half height, red), both in turn (orange), not watched (grey)."
    )
    return element(
        "article",
        element("h3", each.where.backend, " ", element("span", _place(each))),
        told,
        element(
            "figure",
            reportplots.offsets(each.points, report.period, report.step, report.limits),
            reportplots.availability(each.points, report.period, report.step),
            element("figcaption", caption),
        ),
    )


def _events(events: Sequence[EventView], none: str) -> Markup:
    if not events:
        return element("p", none)
    rows = [(moment(each.time), each.event, each.subject, _change(each), each.cause) for each in events[-MOST_EVENTS:]]
    left_out = len(events) - len(rows)
    caption = f"The newest {len(rows)} of {len(events)}" if left_out else f"All {len(rows)}"
    return _table(caption, ("Time (UTC)", "What", "Of whom", "Change", "Why"), rows, ())


def _change(event: EventView) -> str:
    return f"{event.before or NONE} → {event.after or NONE}" if event.before or event.after else ""


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[Child]], right: Sequence[int]) -> Markup:
    kinds = ["figure" if column in right else None for column in range(len(head))]
    titles = (element("th", each, scope="col", class_=kind) for each, kind in zip(head, kinds, strict=True))
    body = [
        element("tr", *(element("td", cell, class_=kind) for cell, kind in zip(row, kinds, strict=True)))
        for row in rows
    ]
    table = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *titles)),
        element("tbody", *body),
    )
    return element("div", table, class_="wide")


def _place(each: AddressReport) -> str:
    port = each.where.port
    if port == 123:
        return each.where.address
    return f"[{each.where.address}]:{port}" if ":" in each.where.address else f"{each.where.address}:{port}"


def _spread(offset: Spread | None) -> tuple[str, str, str, str]:
    if offset is None:
        return NONE, NONE, NONE, NONE
    return measured(offset.median, sign=True), measured(offset.p95), measured(offset.p99), measured(offset.furthest)


def _uncertainty(each: AddressReport) -> str:
    return NONE if each.uncertainty is None else f"±{measured(each.uncertainty[0])}"


def _shares(each: AddressReport, wanted: int) -> list[str]:
    found = [share(part) for within in each.within for part in (within.measured, within.surely)]
    return found or [NONE] * wanted


def strata(each: AddressReport) -> str:
    """Return the strata that were seen, `1` or `2-3`."""
    seen = sorted({source.stratum for source, _ in each.sources})
    if not seen:
        return NONE
    return str(seen[0]) if len(seen) == 1 else f"{seen[0]}-{seen[-1]}"


def follows(each: AddressReport, most: int = 2) -> str:
    """Return what the address followed, the longest first, and how many other sources there were."""
    counts: dict[str, int] = {}
    for source, number in each.sources:
        counts[source.reference] = counts.get(source.reference, 0) + number
    total = sum(counts.values())
    if len(counts) == 1:
        return next(iter(counts)) or NONE
    words = [f"{name or NONE} {share(number / total)}" for name, number in list(counts.items())[:most]]
    if len(counts) > most:
        words.append(f"and {len(counts) - most} more")
    return ", ".join(words) or NONE


def failures(each: AddressReport) -> str:
    """Return the causes for which probes failed, counted."""
    return ", ".join(f"{count(number)} {cause}" for cause, number in each.causes)


def _day(time: float) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d}"
