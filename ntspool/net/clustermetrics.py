"""The metrics of a gateway among others: who lives, where they differ, and what the store that they share is asked."""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from ntspool.pool.view import ClusterView


def families(view: ClusterView | None) -> Iterator[Metric]:
    """Yield the metric families of a cluster; none for a gateway that is alone."""
    if view is None:
        return
    yield GaugeMetricFamily(
        "ntspool_store_reached", "Whether the store that the gateways share answers.", value=view.away is None
    )
    yield GaugeMetricFamily(
        "ntspool_store_since_timestamp_seconds", "Since when it does or does not, in Unix seconds.", value=view.since
    )
    calls = CounterMetricFamily(
        "ntspool_store_operations", "Calls of the store, by their result.", labels=["operation", "result"]
    )
    for key, count in view.calls.items():
        calls.add_metric(key.split(" "), count)
    yield calls
    seconds = CounterMetricFamily(
        "ntspool_store_operation_seconds", "Seconds that calls of the store took.", labels=["operation"]
    )
    for operation, spent in view.seconds.items():
        seconds.add_metric([operation], spent)
    yield seconds
    yield from _gateways(view)
    differ = GaugeMetricFamily(
        "ntspool_cluster_backend_disputed",
        "1 for backends about which this gateway differs from most: `here` says where they do not answer.",
        labels=["backend", "here"],
    )
    for here, backends in (("yes", view.unreachable), ("no", view.outvoted)):
        for name in backends:
            differ.add_metric([name, here], 1)
    yield differ
    yield GaugeMetricFamily(
        "ntspool_cluster_withdrawn",
        "Whether this gateway wants no clients, for it is cut off.",
        value=view.withdrawn != "",
    )


def _gateways(view: ClusterView) -> Iterator[Metric]:
    up = GaugeMetricFamily("ntspool_cluster_gateway_up", "Whether the gateway lives.", labels=["gateway"])
    ready = GaugeMetricFamily(
        "ntspool_cluster_gateway_ready", "Whether it lives and wants clients.", labels=["gateway"]
    )
    agrees = GaugeMetricFamily(
        "ntspool_cluster_gateway_agrees", "Whether it goes by the same shared state as this one.", labels=["gateway"]
    )
    leads = GaugeMetricFamily("ntspool_cluster_gateway_leads", "Whether it is the one to rotate.", labels=["gateway"])
    for each in view.gateways:
        up.add_metric([each.name], each.alive)
        ready.add_metric([each.name], each.ready)
        agrees.add_metric([each.name], each.agrees)
        leads.add_metric([each.name], each.leads)
    yield from (up, ready, agrees, leads)
