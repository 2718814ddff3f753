"""The keys: which epochs are alive, who has proved which, and when the next rotation is due; and the certificates."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ntspool.net.page.health import EXPIRING, sign
from ntspool.net.page.markup import Markup, element, join
from ntspool.net.page.wording import count, moment, span
from ntspool.pool.view import GatewayView

_ROW = 36
_APART = 12
"""Percent of the width that two words on the timeline need."""


@dataclass(frozen=True, slots=True)
class _Epoch:
    number: int
    state: str
    created: float
    ended: float | None
    sessions: int


def keys(view: GatewayView) -> Markup:
    """Return when keys were rotated and will be, the timeline, and what each address has proved."""
    epochs = list(_epochs(view.keys))
    if not epochs:
        return element("p", "Nothing is known of the keys.")
    return join(
        element("p", _rotation(view)),
        element("div", _timeline(view, epochs), _proofs(view, epochs), class_="epochs"),
        _waiting(view),
    )


def certificates(view: GatewayView) -> Markup:
    """Return the table of the certificates and their ends."""
    rows = []
    for each in view.certificates:
        left = each.not_after - view.now
        word = "expired" if left <= 0 else f"in {span(left)}"
        mark = "down" if left <= 0 else "warn" if left < EXPIRING else "up"
        rows.append(
            element(
                "tr",
                element("th", ", ".join(each.names), scope="row"),
                element("td", moment(each.not_after)),
                element("td", element("span", sign(mark), word, class_=f"state {mark}")),
            )
        )
    head = element("tr", *(element("th", each, scope="col") for each in ("Names", "Valid until (UTC)", "Ends")))
    caption = element("caption", "Certificates that clients see")
    return element("table", caption, element("thead", head), element("tbody", *rows), class_="certificates")


def current(view: GatewayView) -> int | None:
    """Return the number of the current epoch, None when it is not known."""
    return next((each.number for each in _epochs(view.keys) if each.state == "current"), None)


def _epochs(told: Mapping[str, object]) -> Iterator[_Epoch]:
    """Yield the epochs, oldest first; when those that have ended were created, nobody knows any more."""
    for each in _items(told, "epochs"):
        number, created = _number(each.get("epoch")), _number(each.get("created"))
        if number is not None and created is not None:
            sessions = int(_number(each.get("sessions")) or 0)
            yield _Epoch(int(number), str(each.get("state")), created, None, sessions)


def _items(told: Mapping[str, object], key: str) -> Iterator[Mapping[str, object]]:
    found = told.get(key)
    for each in found if isinstance(found, Sequence) and not isinstance(found, str) else ():
        if isinstance(each, Mapping):
            yield each


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _rotation(view: GatewayView) -> Markup:
    rotated, interval = _number(view.keys.get("rotated")), _number(view.keys.get("rotate"))
    ago = "The keys have not been rotated yet" if rotated is None else f"Rotated {span(view.now - rotated)} ago"
    if rotated is None or interval is None:
        return join(ago, "; the next rotation is by command.")
    left = rotated + interval - view.now
    return join(ago, f"; the next rotation is due {f'in {span(left)}' if left > 0 else 'now'}.")


def _timeline(view: GatewayView, epochs: Sequence[_Epoch]) -> Markup:
    """Return a bar for each epoch since it was made, in the current one's the time since the rotation, and lines."""
    rotated, interval = _number(view.keys.get("rotated")), _number(view.keys.get("rotate"))
    due = max(view.now, (rotated or view.now) + (interval or 0.0))
    begin = min([*(each.created for each in epochs), view.now])
    end = max(due, view.now + (view.now - begin) * 0.05, begin + 1.0)

    def place(time: float) -> float:
        return (min(max(time, begin), end) - begin) / (end - begin) * 98

    height = _ROW * len(epochs)
    drawn = []
    for row, each in enumerate(epochs):
        left, right = place(each.created), max(place(view.now), place(each.created) + 0.3)
        drawn.append(element("text", f"{each.number} {each.state}", x="0", y=row * _ROW + 14))
        drawn.append(_bar(left, right, row, f"epoch {each.state}"))
        if each.state == "current":
            drawn.append(_bar(place(view.now), place(due), row, "epoch planned"))
    drawn.append(_moment(place(view.now), "now", height, named=True))
    for time, name in ((rotated, "rotated"), (due, "due")):
        if time is not None and abs(place(time) - place(view.now)) > 1:
            named = abs(place(time) - place(view.now)) > _APART
            drawn.append(_moment(place(time), name, height, named=named))
    told = "; ".join(f"epoch {each.number}, {each.state}, made {span(view.now - each.created)} ago" for each in epochs)
    return element("svg", *drawn, height=height + 20, class_="timeline", role="img", aria_label=f"Timeline: {told}")


def _moment(place: float, name: str, height: int, *, named: bool) -> Markup:
    at = f"{place:.2f}%"
    anchor = "start" if place < _APART else "end" if place > 100 - _APART else "middle"
    return join(
        element("line", x1=at, x2=at, y1=0, y2=height, class_=name),
        element("text", name, x=at, y=height + 14, text_anchor=anchor) if named else None,
    )


def _bar(left: float, right: float, row: int, kind: str) -> Markup:
    width = f"{max(right - left, 0.0):.2f}%"
    return element("rect", x=f"{left:.2f}%", y=row * _ROW + 19, width=width, height=10, rx=3, class_=kind)


def _proofs(view: GatewayView, epochs: Sequence[_Epoch]) -> Markup:
    """Return the table of which address has proved which epoch. Future ones are nobody's yet."""
    shown = [each for each in epochs if each.state not in {"future", "revoked"}]
    heads = [
        element(
            "th",
            str(each.number),
            element("small", f" {each.state}"),
            scope="col",
            title=f"{count(each.sessions)} sessions",
        )
        for each in shown
    ]
    rows = []
    for each in _items(view.keys, "backends"):
        proved = each.get("proved")
        cells = [
            _proof(proved if isinstance(proved, Mapping) else {}, epoch.number, each.get("minting"), view.now)
            for epoch in shown
        ]
        who = join(str(each.get("backend")), " ", element("code", str(each.get("address"))))
        rows.append(element("tr", element("th", who, scope="row"), *cells))
    head = element("tr", element("th", "Backend", scope="col"), *heads)
    caption = element(
        "caption", "Epochs that each address has proved to hold, and the one that its cookies are minted under"
    )
    return element("table", caption, element("thead", head), element("tbody", *rows), class_="proofs")


def _proof(proved: Mapping[object, object], number: int, minting: object, now: float) -> Markup:
    since = _number(proved.get(str(number)))
    if since is None:
        return element("td", "not proved", class_="unproved")
    mints = element("em", "minting") if minting == number else None
    return element("td", sign("up"), f"{span(now - since)} ago ", mints)


def _waiting(view: GatewayView) -> Markup | None:
    waits = dict.fromkeys(
        f"{each.get('backend')}: {each.get('waits')}" for each in _items(view.keys, "backends") if each.get("waits")
    )
    if not waits:
        return None
    items = element("ul", *(element("li", each) for each in waits))
    return join(element("p", "A rotation now would wait for:"), items)
