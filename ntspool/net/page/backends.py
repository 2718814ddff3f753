"""The backends: each with its state, its checks, and how its clocks have been."""

from ntspool.net.page import plots
from ntspool.net.page.health import sign, sign_of, state
from ntspool.net.page.markup import Markup, element, join
from ntspool.net.page.wording import NONE, count, measured, percent, span
from ntspool.pool.history import History, Point, answers
from ntspool.pool.view import AddressView, BackendView, CheckView, GatewayView

_DOT = " \N{MIDDLE DOT} "


def cards(view: GatewayView, history: History) -> Markup:
    """Return a card for each backend, and what their plots show."""
    told = f"The plots show the last {span(history.covers())}; hatched is when an address was not UP."
    return join(
        element("p", told, class_="facts"),
        element("div", *(_card(each, view.now, history) for each in view.backends), class_="cards"),
    )


def shares(view: GatewayView) -> Markup:
    """Return the table of who gets how many of the sessions."""
    head = ("Backend", "State", "Weight", "Sessions", "Share")
    rows = [
        element(
            "tr",
            element("th", each.name, scope="row"),
            element("td", state(each.state)),
            element("td", _weight(each), class_="figure"),
            element("td", count(each.sessions), class_="figure"),
            element("td", _share(each)),
        )
        for each in view.backends
    ]
    return element(
        "table",
        element("caption", "Sessions since the start against the weights of now: the mark is what a weight stands for"),
        element("thead", element("tr", *(element("th", each, scope="col") for each in head))),
        element("tbody", *rows),
        class_="shares",
    )


def _card(backend: BackendView, now: float, history: History) -> Markup:
    return element(
        "article",
        element("header", element("h3", backend.name), state(backend.state)),
        element("p", backend.cause or None, class_="cause") if backend.cause else None,
        element("p", _DOT.join(_facts(backend, now)), class_="facts"),
        *(
            _address(each, backend.cause, history.points(backend.name, each.address, each.port), now)
            for each in backend.addresses
        ),
        class_=f"card {sign_of(backend.state)}",
        data_name=backend.name,
        data_told=f"{backend.name} is {backend.state}{f': {backend.cause}' if backend.cause else ''}",
    )


def _facts(backend: BackendView, now: float) -> list[str]:
    facts = [f"for {span(now - backend.since)}", f"weight {_weight(backend)}", f"{backend.cookies} cookies"]
    if backend.regions:
        facts.append("for " + ", ".join(backend.regions))
    if backend.minting is not None:
        facts.append(f"epoch {backend.minting}")
    return facts


def _weight(backend: BackendView) -> str:
    if backend.effective_weight == backend.weight:
        return str(backend.weight)
    return f"{backend.effective_weight:.3g} of {backend.weight}"


def _share(backend: BackendView) -> Markup:
    told = f"{percent(backend.share)}, by weight {percent(backend.fair_share)}"
    return join(plots.bar(backend.share, backend.fair_share, told), element("span", told, class_="told"))


def _address(address: AddressView, said: str, points: tuple[Point, ...], now: float) -> Markup:
    """Return one address of a card that has `said` the backend's cause already."""
    offset, delay = (address.offset, address.delay) if answers(address) else (None, None)
    port = "" if address.port == 123 else f" port {address.port}"
    return element(
        "div",
        element("h4", element("code", address.address), port, " ", state(address.state)),
        element("ul", *(_check(each, address.cause) for each in address.aeads), class_="checks")
        if address.aeads
        else None,
        element("p", address.cause, class_="cause") if address.cause not in {"", said} else None,
        element(
            "div",
            _figure("Offset", measured(offset, sign=True), plots.offsets(points)),
            _figure("Delay", measured(delay), plots.delays(points)),
            class_="plots",
        ),
        element("p", _DOT.join(_probes(address, now)), class_="facts"),
        class_="address",
    )


def _figure(name: str, value: str, plot: Markup) -> Markup:
    return element("figure", element("figcaption", name, " ", element("b", value)), plot)


def _check(check: CheckView, said: str) -> Markup:
    cause = f": {check.cause}" if check.cause not in {"", said} else None
    well = check.state == "UP"
    return element("li", sign(sign_of(check.state)), check.aead, None if well else f" {check.state}", cause)


def _probes(address: AddressView, now: float) -> list[str]:
    facts = [f"stratum {NONE if address.stratum is None else address.stratum}"]
    if address.root_distance is not None:
        facts.append(f"root distance {measured(address.root_distance)}")
    facts.append(f"{count(address.failures)} of {count(address.probes)} probes failed")
    if address.answered is not None and now - address.answered >= 60:
        facts.append(f"last answer {span(now - address.answered)} ago")
    causes = sorted(address.failures_by_cause.items(), key=lambda each: -each[1])
    facts.extend(f"{cause} {count(number)}\N{MULTIPLICATION SIGN}" for cause, number in causes if number)
    return facts
