"""What is wrong with a gateway, in a line each: for the operator who has been woken and asks for `ntspool status`."""

from collections.abc import Iterator
from typing import Any

from ntspool.app.tables import age
from ntspool.app.tables_cluster import cluster_problems

CERTIFICATE_WARNING = 14 * 86400
"""Seconds before a certificate ends from which on that is a problem: renewal usually comes 30 days before."""


def problems(view: dict[str, Any]) -> list[str]:
    """Return what is wrong, the worst first; `view` is the JSON of GatewayView."""
    found = list(cluster_problems(view))
    if not view["ready"] and not (view.get("cluster") or {}).get("withdrawn"):
        found.insert(0, "NOT ready: no client can be served")
    found += [f"PANIC for {family}: too many backends fell silent at once" for family in view["panicking"]]
    found += _workers(view["workers"])
    found += _certificates(view)
    found += _backends(view)
    found += _publishing(view)
    if view["vote"] == "no majority":
        found.append("the backends' clocks disagree, and no majority tells who is right")
    if view.get("history", {}).get("failing"):
        found.append("the history cannot be written; the log has the reason")
    if (overdue := overdue_rotation(view["keys"])) is not None:
        found.append(f"a key rotation is due since {age(overdue)} and waits")
    return found


def overdue_rotation(keys: dict[str, Any]) -> float | None:
    """Return for how many seconds a rotation has been due, None if none is."""
    if keys["rotate"] is None:
        return None
    late = keys["now"] - keys["rotated"] - keys["rotate"]
    return late if late > 0 else None


def _workers(workers: dict[str, Any]) -> Iterator[str]:
    if len(workers["pids"]) < workers["wanted"]:
        yield f"{len(workers['pids'])} of {workers['wanted']} workers run"


def _certificates(view: dict[str, Any]) -> Iterator[str]:
    for each in view["certificates"]:
        left = each["not_after"] - view["now"]
        if left < CERTIFICATE_WARNING:
            ends = f"expired {age(-left)} ago" if left < 0 else f"expires in {age(left)}"
            yield f"the certificate for {', '.join(each['names'])} {ends}"


def _publishing(view: dict[str, Any]) -> Iterator[str]:
    publishing = view.get("publishing") or {}
    if publishing.get("trouble"):
        since = age(view["now"] - publishing["since"])
        yield f"no DNS records can be published at {publishing['server']} for {since}: {publishing['trouble']}"
    for name in publishing.get("stuck", ()):
        yield f"a DNS record of {name} should be gone, and stays because it is the last"


def _backends(view: dict[str, Any]) -> Iterator[str]:
    for each in view["backends"]:
        if each["admin"] != "ready":
            continue
        since = age(view["now"] - each["since"])
        if each["state"] == "DOWN":
            causes = dict.fromkeys(filter(None, (*(one["cause"] for one in each["addresses"]), each["cause"])))
            yield f"{each['name']} DOWN for {since}: {'; '.join(causes) or 'no cause known'}"
            continue
        for one in each["addresses"]:
            if not one["up"]:
                yield f"{each['name']} DOWN at {one['address']}: {one['cause'] or 'no cause known'}"
