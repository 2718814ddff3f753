"""What `ntspool cluster status` prints."""

from collections.abc import Iterator
from typing import Any

from ntspool.app.tables import Rows, age, ago, lines, table

CLUSTER_HEAD = (
    *("gateway", "state", "leads", "epoch", "agrees", "told", "started", "version", "weight", "addresses", "withdrawn"),
)


def cluster_page(view: dict[str, Any]) -> str:
    """Return the gateways, whether their store answers, and where this one and the others differ about backends."""
    cluster, now = view["cluster"], view["now"]
    rows = [
        (
            f"{each['name']}{' *' if each['name'] == cluster['name'] else ''}",
            state(each),
            "yes" if each["leads"] else "",
            str(each["epoch"]),
            "yes" if each["agrees"] else "no",
            ago(each["told"], now),
            ago(each["started"], now),
            ", ".join(each["addresses"]) or "-",
        )
        for each in cluster["gateways"]
    ]
    head = ("Gateway", "State", "Leads", "Epoch", "Agrees", "Told", "Up", "Addresses")
    return f"{lines(_lines(view))}\n{table(head, rows, right=(3, 5, 6))}"


def cluster_rows(view: dict[str, Any]) -> Rows:
    """Return the header and the rows of CSV, one for each gateway; times are Unix seconds."""
    keys = ("leads", "epoch", "agrees", "told", "started", "version", "weight")
    rows = [
        (
            *(each["name"], state(each)),
            *(each[key] for key in keys),
            " ".join(each["addresses"]),
            each["withdrawn"],
        )
        for each in view["cluster"]["gateways"]
    ]
    return CLUSTER_HEAD, rows


def state(gateway: dict[str, Any]) -> str:
    """Return how a gateway is, in a word."""
    if not gateway["alive"]:
        return "stopped" if gateway["stopped"] else "LOST"
    if gateway["withdrawn"]:
        return "WITHDRAWN"
    return "ready" if gateway["ready"] else "NOT ready"


def cluster_problems(view: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong between the gateways, if there are several."""
    cluster = view.get("cluster")
    if cluster is None:
        return
    if cluster["away"] is not None:
        since = age(view["now"] - cluster["since"])
        yield f"the cluster's store is away for {since}, so nothing can be changed: {cluster['away']}"
    if cluster["withdrawn"]:
        yield f"this gateway wants no clients: {cluster['withdrawn']}"
    for each in cluster["gateways"]:
        if not each["alive"] and not each["stopped"]:
            yield f"gateway {each['name']} is lost for {age(view['now'] - each['told'])}"
        elif each["withdrawn"] and each["name"] != cluster["name"]:
            yield f"gateway {each['name']} wants no clients: {each['withdrawn']}"
    for name, words in cluster["unreachable"].items():
        yield f"{name} is not reached from here: it {words}"
    for name, words in cluster["outvoted"].items():
        yield f"{name} is reached from here, but {words}"


def _lines(view: dict[str, Any]) -> Iterator[tuple[str, str]]:
    cluster = view["cluster"]
    since = age(view["now"] - cluster["since"])
    yield "This gateway", cluster["name"]
    yield "Store", f"answers, for {since}" if cluster["away"] is None else f"AWAY for {since}: {cluster['away']}"
    yield "Leader", cluster["leader"] or "none"
    for problem in cluster_problems({**view, "cluster": {**cluster, "away": None}}):
        yield "Problem", problem
    for name, reason in view["keys"].get("cluster", {}).get("waits", {}).items():
        yield "Rotation waits", f"for {name}: {reason}"
