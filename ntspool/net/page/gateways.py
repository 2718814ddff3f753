"""The gateways of a pool that has several."""

from ntspool.net.page.health import sign
from ntspool.net.page.markup import Markup, element
from ntspool.net.page.wording import span
from ntspool.pool.view import ClusterView, PeerView


def gateways(cluster: ClusterView, now: float) -> Markup:
    """Return the table of all gateways as this one knows them at Unix time `now`."""
    heads = ("Gateway", "State", "Key epoch", "Same state as this one", "Last heard of")
    head = element("tr", *(element("th", each, scope="col") for each in heads))
    rows = [_row(each, cluster, now) for each in cluster.gateways]
    caption = element("caption", _caption(cluster, now))
    return element("table", caption, element("thead", head), element("tbody", *rows), class_="proofs")


def _row(peer: PeerView, cluster: ClusterView, now: float) -> Markup:
    shape, state = _state(peer)
    marks = [mark for mark, holds in (("this one", peer.name == cluster.name), ("leads", peer.leads)) if holds]
    return element(
        "tr",
        element("th", peer.name, " ", element("small", ", ".join(marks)) if marks else None, scope="row"),
        element("td", sign(shape), state),
        element("td", str(peer.epoch)),
        element("td", "yes" if peer.agrees else "no"),
        element("td", f"{span(max(now - peer.told, 0.0))} ago"),
    )


def _state(peer: PeerView) -> tuple[str, str]:
    """Return the shape and the words of a gateway's state."""
    if not peer.alive:
        return ("maint", "stopped") if peer.stopped else ("down", "lost")
    if peer.withdrawn:
        return "warn", f"wants no clients: {peer.withdrawn}"
    return ("up", "ready") if peer.ready else ("down", "not ready")


def _caption(cluster: ClusterView, now: float) -> str:
    if cluster.away is None:
        return "Gateways that share this pool"
    return (
        f"Gateways that share this pool, as of {span(max(now - cluster.since, 0.0))} ago: their store does not answer"
    )
