"""The metrics of what is asked of backends that keep their own keys."""

from collections.abc import Callable, Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from ntspool.net.gatewaymetrics import buckets
from ntspool.pool.view import UpstreamsView, UpstreamView


def families(view: UpstreamsView | None) -> Iterator[Metric]:
    """Yield the metric families; none while no backend keeps its own keys."""
    if view is None:
        return
    connections = GaugeMetricFamily(
        "ntspool_upstream_connections", "Connections to its NTS-KE server.", labels=["backend"]
    )
    for each in view.backends:
        connections.add_metric([each.backend], each.connections)
    yield connections
    figures: tuple[tuple[str, str, Callable[[UpstreamView], int]], ...] = (
        ("connections_opened", "Connections to its NTS-KE server that were opened.", lambda each: each.opened),
        ("answers", "Clients that got cookies which it made.", lambda each: each.answered),
        ("avoided", "Clients that could not get it before it had their keys.", lambda each: each.avoided),
    )
    for name, text, figure in figures:
        family = CounterMetricFamily(f"ntspool_upstream_{name}", text, labels=["backend"])
        for each in view.backends:
            family.add_metric([each.backend], figure(each))
        yield family
    failures = CounterMetricFamily(
        "ntspool_upstream_failures", "Connections and questions that failed.", labels=["backend", "cause"]
    )
    for each in view.backends:
        for cause, number in each.failures.items():
            failures.add_metric([each.backend, cause], number)
    yield failures
    histograms = (
        ("wait", "How long clients waited until a connection was theirs.", view.waits),
        ("answer", "How long cookies took, from the question to the answer.", view.answers),
    )
    for name, text, histogram in histograms:
        yield HistogramMetricFamily(
            f"ntspool_upstream_{name}_duration_seconds", text, buckets=buckets(histogram), sum_value=histogram.sum
        )
