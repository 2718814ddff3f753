"""The sessions: how many, how they ended, how long they took."""

from collections.abc import Mapping

from ntspool.net.page import plots
from ntspool.net.page.markup import Markup, element
from ntspool.net.page.wording import NONE, count, measured, percent
from ntspool.pool.history import History
from ntspool.pool.view import GatewayView, HistogramView


def rate(view: GatewayView, history: History) -> Markup:
    """Return the session rate of the last hours."""
    series = history.rates()
    peak = max((each.rate for each in series), default=0.0)
    caption = element(
        "figcaption", "Sessions a second ", element("b", f"{view.sessions.rate:.1f}"), f" at most {peak:.1f}"
    )
    return element("figure", caption, plots.rates(series), class_="rate")


def outcomes(view: GatewayView) -> Markup:
    """Return how the sessions ended, and how many clients did not get so far."""
    tables = [_table("How sessions ended", "Outcome", view.sessions.outcomes)]
    if any(view.sessions.reasons.values()):
        tables.append(_table("Why some were not served", "Reason", view.sessions.reasons))
    if any(view.sessions.turned_away.values()):
        tables.append(_table("Clients turned away before TLS", "Why", view.sessions.turned_away))
    if any(view.sessions.aeads.values()):
        tables.append(_table("What was agreed on", "AEAD", view.sessions.aeads))
    return element("div", *tables, class_="tables")


def durations(view: GatewayView) -> Markup:
    """Return how long sessions took."""
    took = view.sessions.duration
    told = [f"half of them took at most {_quantile(took, 0.5)}", f"99 of 100 at most {_quantile(took, 0.99)}"]
    return element("p", f"{count(view.sessions.open)} sessions are open now; ", ", ".join(told), ".")


def served(view: GatewayView) -> str:
    """Return the part of all sessions that ended well."""
    total = sum(view.sessions.outcomes.values())
    return percent(view.sessions.outcomes.get("ok", 0) / total) if total else NONE


def _table(caption: str, head: str, numbers: Mapping[str, int]) -> Markup:
    total = sum(numbers.values())
    rows = [
        element(
            "tr",
            element("th", name, scope="row"),
            element("td", count(number), class_="figure"),
            element("td", percent(number / total) if total else NONE, class_="figure"),
        )
        for name, number in sorted(numbers.items(), key=lambda each: -each[1])
    ]
    heads = element("tr", *(element("th", each, scope="col") for each in (head, "Number", "Part")))
    return element("table", element("caption", caption), element("thead", heads), element("tbody", *rows))


def _quantile(histogram: HistogramView, part: float) -> str:
    """Return the least bound that so many are at most."""
    if not histogram.count:
        return NONE
    for bound, number in zip(histogram.bounds, histogram.counts, strict=False):
        if number >= part * histogram.count:
            return measured(bound)
    return f"over {measured(histogram.bounds[-1])}" if histogram.bounds else NONE
