"""How a pool is, in a few words: the headline, what wants attention, and the states' signs."""

from collections.abc import Iterator
from dataclasses import dataclass

from ntspool.net.page.markup import Markup, element, join
from ntspool.net.page.wording import span
from ntspool.pool.view import BackendView, GatewayView

EXPIRING = 14 * 86400.0
"""Seconds before its end from which on a certificate is worth a word: renewal should have happened by then."""

_SIGNS = {"UP": "up", "DOWN": "down", "DRAIN": "drain", "MAINT": "maint"}


@dataclass(frozen=True, slots=True)
class Headline:
    """The pool in a sentence.

    `sign` is `up` when all is well, `warn` when clients get time but not from all, `down` when they get none.
    """

    sign: str
    text: str


def sign_of(state: str) -> str:
    """Return which sign stands for a state; `UP 2/3` is on its way DOWN."""
    word, _, counted = state.partition(" ")
    return "warn" if word == "UP" and counted else _SIGNS.get(word, "maint")


def sign(name: str) -> Markup:
    """Return a sign; the word that it stands for must be beside it."""
    return element("svg", element("use", href=f"#sign-{name}"), class_=f"sign {name}", aria_hidden="true")


def state(text: str) -> Markup:
    """Return a state with its sign."""
    return element("span", sign(sign_of(text)), text, class_=f"state {sign_of(text)}")


def headline(view: GatewayView) -> Headline:
    """Return the pool in a sentence."""
    up, wanted = _serving(view), [each for each in view.backends if each.admin == "ready"]
    if not up or not view.ready:
        cut_off = view.cluster is not None and view.cluster.withdrawn
        not_ready = "This gateway is cut off; others serve time" if cut_off else "The gateway is not ready"
        return Headline("down", not_ready if up else "No backend serves time")
    if len(up) < len(wanted):
        return Headline("warn", f"{len(up)} of {len(wanted)} backends serve time")
    text = f"All {len(up)} backends serve time" if len(up) > 1 else "The one backend serves time"
    return Headline("warn" if any(_worries(view)) else "up", text)


def title(view: GatewayView) -> str:
    """Return what a tab or a bookmark is called: how many are UP, and whose they are."""
    return f"{len(_serving(view))}/{len(view.backends)} UP, {view.names[0] if view.names else 'ntspool'}"


def attention(view: GatewayView) -> Markup | None:
    """Return what wants to be looked at, None for nothing."""
    items = [*_troubled(view), *_worries(view)]
    return element("ul", *(element("li", each) for each in items), class_="attention") if items else None


def _serving(view: GatewayView) -> list[BackendView]:
    return [each for each in view.backends if each.state == "UP"]


def _troubled(view: GatewayView) -> Iterator[Markup]:
    for each in view.backends:
        if each.state != "UP":
            yield join(state(each.state), " ", element("strong", each.name), f": {each.cause}" if each.cause else "")


def _worries(view: GatewayView) -> Iterator[Markup]:
    if view.panicking:
        families = ", ".join(view.panicking)
        yield join(sign("warn"), f"Panic ({families}): too many fell silent at once, so the last good ones are kept")
    for each in view.certificates:
        names = ", ".join(each.names) or "no name"
        if each.not_after <= view.now:
            yield join(sign("down"), f"The certificate of {names} has expired")
        elif each.not_after < view.now + EXPIRING:
            yield join(sign("warn"), f"The certificate of {names} expires in {span(each.not_after - view.now)}")
    if view.workers.pids and len(view.workers.pids) < view.workers.wanted:
        yield join(sign("warn"), f"{len(view.workers.pids)} of {view.workers.wanted} workers run")
