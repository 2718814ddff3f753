"""The page as a whole: its sections, which change while it is looked at, and what stands around them."""

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources

from ntspool.net.page import backends, clients, dial, gateways, health, keys, sessions
from ntspool.net.page.markup import Markup, element, join
from ntspool.net.page.wording import NONE, count, measured, moment, span
from ntspool.pool.history import History
from ntspool.pool.view import EventView, GatewayView

STATIC = ("page.css", "page.js", "icon.svg")
"""The files beside the page."""

EVENTS = 25
"""The latest events that are shown."""

REFRESH = 30
"""Seconds after which the page loads itself anew where there is no JavaScript."""

# One shape for each state: colour is never the only sign.
_SIGNS = {
    "up": "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1zM7 11.4 3.9 8.3l1.3-1.3L7 8.8l3.9-3.9 1.3 1.3z",
    "down": "M1 1h14v14H1zM4.2 5.5 6.7 8l-2.5 2.5 1.3 1.3L8 9.3l2.5 2.5 1.3-1.3L9.3 8l2.5-2.5-1.3-1.3L8 6.7 5.5 4.2z",
    "warn": "M8 .8 15.6 15H.4zM7.1 5.5v5h1.8v-5zM7.1 11.6v1.8h1.8v-1.8z",
    "drain": "M8 15 1 7h4V1h6v6h4z",
    "maint": "M2 1h4.5v14H2zM9.5 1H14v14H9.5z",
}


def page(view: GatewayView, events: Sequence[EventView], history: History) -> str:
    """Return the page as an HTML document."""
    name = view.names[0] if view.names else "ntspool"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("title", health.title(view)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="dark light"),
        element("meta", name="robots", content="noindex"),
        element("link", rel="icon", type="image/svg+xml", href=_link("icon.svg")),
        element("link", rel="stylesheet", href=_link("page.css")),
        element("script", src=_link("page.js"), defer=""),
        element("noscript", element("meta", http_equiv="refresh", content=REFRESH)),
    )
    body = element(
        "body",
        element("a", "Skip to the pool's health", href="#main", class_="skip"),
        _signs(),
        element(
            "header",
            element(
                "p", element("span", name, class_="name"), " ", element("span", "authenticated time", class_="what")
            ),
            element(
                "p",
                "As of ",
                element("span", moment(view.now, date=False), id="as-of"),
                " UTC ",
                element("button", "Pause", type="button", id="pause", hidden="", aria_pressed="false"),
                class_="clock",
            ),
            class_="top",
        ),
        element("p", id="news", role="status", aria_live="polite"),
        element("main", *_sections(view, events, history), id="main", tabindex=-1),
        element("footer", element("p", f"ntspool {view.version}. Times are UTC.")),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def fragment(view: GatewayView, events: Sequence[EventView], history: History) -> str:
    """Return what is in the page's `main`, for the script to put there."""
    return join(*_sections(view, events, history))


@cache
def static_name(name: str) -> str:
    """Return what a file of STATIC is called in links: with a hash in its name it may be kept for ever."""
    body = resources.files(__package__).joinpath("static", name).read_bytes()
    stem, _, kind = name.rpartition(".")
    return f"{stem}.{hashlib.sha256(body).hexdigest()[:12]}.{kind}"


def _link(name: str) -> str:
    return f"static/{static_name(name)}"


def _sections(view: GatewayView, events: Sequence[EventView], history: History) -> list[Markup]:
    others = (
        [] if view.cluster is None else [_section("gateways", "Gateways", gateways.gateways(view.cluster, view.now))]
    )
    return [
        _glance(view, history),
        _section("backends", "Backends", backends.cards(view, history)),
        _section("sessions", "Sessions", backends.shares(view), sessions.outcomes(view), sessions.durations(view)),
        *others,
        _section("keys", "Keys", keys.keys(view)),
        _section("certificates", "Certificates", keys.certificates(view)),
        _section("events", "Events", _events(events)),
        _section("clients", "Use this pool", clients.clients(view), clients.timesyncd()),
    ]


def _section(name: str, heading: str, *children: Markup | None) -> Markup:
    title = element("h2", heading, id=f"{name}-heading")
    return element("section", title, *children, id=name, aria_labelledby=f"{name}-heading")


def _glance(view: GatewayView, history: History) -> Markup:
    head = health.headline(view)
    return element(
        "section",
        element("h1", health.sign(head.sign), element("span", head.text), id="glance-heading", class_=head.sign),
        health.attention(view),
        element("div", _figures(view), sessions.rate(view, history), class_="board"),
        dial.dial(view),
        id="glance",
        aria_labelledby="glance-heading",
        class_=head.sign,
        data_title=health.title(view),
        data_version=" ".join(map(static_name, STATIC)),
        data_told=head.text,
        data_name="",
    )


def _figures(view: GatewayView) -> Markup:
    offsets = [each.offset for one in view.backends for each in one.addresses if each.up and each.offset is not None]
    ends = [each.not_after - view.now for each in view.certificates]
    epoch = keys.current(view)
    figures = (
        ("Clocks agree within", measured(max(offsets) - min(offsets)) if len(offsets) > 1 else NONE),
        ("Sessions served", count(view.sessions.outcomes.get("ok", 0))),
        ("Ended well", sessions.served(view)),
        ("Key epoch", NONE if epoch is None else str(epoch)),
        ("Certificate ends in", (span(min(ends)) if min(ends) > 0 else "expired") if ends else NONE),
        ("Gateway up for", span(view.now - view.started)),
    )
    return element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in figures))


def _events(events: Sequence[EventView]) -> Markup:
    if not events:
        return element("p", "Nothing has happened since the gateway's start.")
    latest = sorted(events, key=lambda each: each.number, reverse=True)[:EVENTS]
    rows = [
        element(
            "tr",
            element("td", moment(each.time)),
            element("th", _happened(each), scope="row"),
            element("td", _why(each)),
        )
        for each in latest
    ]
    head = element("tr", *(element("th", each, scope="col") for each in ("Time (UTC)", "What happened", "Why")))
    caption = element("caption", f"The latest {len(latest)}, newest first" if len(latest) > 1 else "The latest")
    return element("table", caption, element("thead", head), element("tbody", *rows), class_="events")


def _happened(event: EventView) -> Markup:
    mark = {"error": "down", "warning": "warn"}.get(event.level)
    return join(
        health.sign(mark) if mark else None, event.event, " " if event.subject else None, element("b", event.subject)
    )


def _why(event: EventView) -> Markup:
    change = f"{event.before or NONE} → {event.after or NONE}" if event.before or event.after else ""
    return join(event.cause, ", " if event.cause and change else None, change)


def _signs() -> Markup:
    symbols = [
        element("symbol", element("path", d=path, fill_rule="evenodd"), id=f"sign-{name}", viewBox="0 0 16 16")
        for name, path in _SIGNS.items()
    ]
    stripe = element("path", d="M-2 2 2-2M0 8 8 0M6 10 10 6", class_="stripe")
    hatch = element("pattern", stripe, id="hatch", width=8, height=8, patternUnits="userSpaceOnUse")
    return element("svg", *symbols, element("defs", hatch), width=0, height=0, class_="signs", aria_hidden="true")
