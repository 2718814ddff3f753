"""What `ntspool report` prints: the report as text, and as CSV."""

import csv
import io
from collections.abc import Iterator

from ntspool.app.tables import age, lines, moment, span, table
from ntspool.app.tables_events import events_table
from ntspool.net.page.report import follows, limit_text, share, strata
from ntspool.pool.observation import AUTHENTICATION
from ntspool.pool.report import AddressReport, Report, Spread

_EVENTS = 20
"""How many of the newest events are printed."""

CSV_HEAD = (
    "backend",
    "address",
    "port",
    "start",
    "end",
    "observed",
    "up",
    "probes",
    "good",
    "exact",
    "offset_median",
    "offset_p95",
    "offset_p99",
    "offset_greatest",
    "pool_offset_median",
    "pool_offset_p95",
    "pool_offset_p99",
    "pool_offset_greatest",
    "uncertainty_median",
    "uncertainty_greatest",
    "stratum",
    "reference",
    "failures",
)


def report_page(report: Report) -> str:
    """Return the report; of its events, the newest."""
    if not report.addresses:
        return f"{lines(_lines(report))}\nNothing was recorded in this time.\n"
    parts = [lines(_lines(report)), _availability(report), _offsets(report)]
    if report.events:
        shown = report.events[-_EVENTS:]
        more = len(report.events) - len(shown)
        parts.append(events_table([{key: getattr(each, key) for key in _KEYS} for each in shown]))
        parts[-1] += f"and {more} earlier ones, which --html has\n" if more else ""
    return "\n".join(parts)


_KEYS = ("time", "level", "event", "subject", "before", "after", "cause")


def report_csv(report: Report) -> str:
    """Return a row for each address; times are Unix seconds, durations and offsets seconds, shares from 0 to 1.

    `failures` counts causes, `within` columns are there for each limit, and one for each cause that is a failure to
    authenticate.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    limits = [
        f"{name}_{limit_text(limit)}".replace(" ", "")
        for limit in report.limits
        for name in ("within", "surely_within")
    ]
    writer.writerow((*CSV_HEAD, *limits, *(str(each).lower().replace(" ", "_") for each in AUTHENTICATION)))
    writer.writerows(_row(report, each) for each in report.addresses)
    return text.getvalue()


def _lines(report: Report) -> Iterator[tuple[str, str]]:
    period = report.period
    yield "Period", f"{moment(period.start)} to {moment(period.end)}, {age(period.length)}"
    yield "Recorded since", "-" if report.since is None else moment(report.since)
    yield "Offsets against", "the clock of the gateway's machine; that it follows UTC is to be shown elsewhere"
    if report.exact:
        yield "Figures", "exact"
    else:
        yield "Figures", "quantiles and shares are right to 5 %: older probes are kept as hours"


def _availability(report: Report) -> str:
    head = ("Backend", "Address", "Watched", "UP", "Probes", "Good", "NotAuth", "Stratum", "Follows", "Failures")
    rows = [
        (
            each.where.backend,
            each.where.address,
            _share(each.observed / report.period.length),
            _share(each.up / each.observed if each.observed else None),
            str(each.probes),
            _share(each.good / each.probes if each.probes else None),
            str(each.authentication_failures),
            _plain(strata(each)),
            _plain(follows(each)),
            ", ".join(f"{number} {cause}" for cause, number in each.causes) or "-",
        )
        for each in report.addresses
    ]
    return table(head, rows, right=range(2, 7))


def _offsets(report: Report) -> str:
    limits = [f"{word}{limit_text(limit)}".replace(" ", "") for limit in report.limits for word in ("<=", "surely<=")]
    head = ("Backend", "Address", "Median", "95%", "99%", "Greatest", "+/-Median", "+/-Max", *limits)
    rows = [
        (
            each.where.backend,
            each.where.address,
            *_spread(each.offset),
            *(("-", "-") if each.uncertainty is None else map(span, each.uncertainty)),
            *(_within(each) or ["-"] * len(limits)),
        )
        for each in report.addresses
    ]
    return table(head, rows, right=range(2, len(head)))


def _within(each: AddressReport) -> list[str]:
    return [_share(part) for within in each.within for part in (within.measured, within.surely)]


def _spread(offset: Spread | None) -> tuple[str, str, str, str]:
    if offset is None:
        return "-", "-", "-", "-"
    return span(offset.median, signed=True), span(offset.p95), span(offset.p99), span(offset.furthest)


def _share(part: float | None) -> str:
    return "-" if part is None else share(part).replace("\N{NO-BREAK SPACE}", "")


def _plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", "").replace("\N{EN DASH}", "-")


def _row(report: Report, each: AddressReport) -> tuple[object, ...]:
    causes = dict(each.causes)
    within = [part for one in each.within for part in (one.measured, one.surely)]
    return (
        *each.where,
        report.period.start,
        report.period.end,
        *(round(seconds, 3) for seconds in (each.observed, each.up)),
        each.probes,
        each.good,
        str(each.exact).lower(),
        *_figures(each.offset),
        *_figures(each.pool),
        *(("", "") if each.uncertainty is None else map(_nanoseconds, each.uncertainty)),
        _plain(strata(each)),
        _harmless(_plain(follows(each))),
        "; ".join(f"{number} {cause}" for cause, number in each.causes),
        *(within or [""] * 2 * len(report.limits)),
        *(causes.get(str(cause), 0) for cause in AUTHENTICATION),
    )


def _harmless(text: str) -> str:
    """Return what a server calls its reference, so that no spreadsheet takes it for a formula."""
    return f"'{text}" if text != "-" and text.startswith(("=", "+", "-", "@")) else text


def _figures(offset: Spread | None) -> tuple[object, ...]:
    if offset is None:
        return "", "", "", ""
    return tuple(map(_nanoseconds, (offset.median, offset.p95, offset.p99, offset.furthest)))


def _nanoseconds(seconds: float) -> str:
    return f"{seconds:.9f}"
