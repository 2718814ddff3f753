"""The metrics of a gateway as a whole: sessions, workers, certificates, keys."""

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.utils import floatToGoString

from ntspool.net.session import Outcome
from ntspool.pool.fleet import Mode
from ntspool.pool.limits import TurnedAway
from ntspool.pool.view import (
    CertificateView,
    GatewayView,
    HistogramView,
    HistoryView,
    PublishingView,
    SessionsView,
    WorkersView,
)

FAMILIES = ("IPv4", "IPv6")
"""The address families that `GatewayView.panicking` may name."""


def families(view: GatewayView) -> Iterator[Metric]:
    """Yield the metric families that are not about a single backend."""
    yield InfoMetricFamily("ntspool_build", "The version that runs.", {"version": view.version})
    yield _gauge("start_time_seconds", "When the control process started, in Unix seconds.", view.started)
    yield _gauge("ready", "Whether the gateway can serve some client.", view.ready)
    yield _gauge("snapshot_revision", "Number of the snapshot that workers serve, from 1 at each start.", view.revision)
    panic = GaugeMetricFamily("ntspool_panic", "Whether the address family is in panic.", labels=["family"])
    for family in dict.fromkeys((*FAMILIES, *view.panicking)):
        panic.add_metric([family], family in view.panicking)
    yield panic
    vote = GaugeMetricFamily("ntspool_offset_vote_mode", "Whom the offset vote trusts: 1 for that.", labels=["mode"])
    for mode in dict.fromkeys((*map(str, Mode), view.vote)):
        vote.add_metric([mode], mode == view.vote)
    yield vote
    yield _certificates(view.certificates)
    yield from _workers(view.workers)
    yield from _sessions(view.sessions)
    yield from _keys(view.keys)
    yield from _publishing(view.publishing)
    yield from _history(view.history)


def counter(name: str, text: str, label: str, counts: Mapping[str, int], known: Iterable[str] = ()) -> Metric:
    """Return a counter by one label, at 0 for what is `known` and has not happened: a rate needs a value before."""
    family = CounterMetricFamily(f"ntspool_{name}", text, labels=[label])
    for value in dict.fromkeys((*map(str, known), *map(str, counts))):
        family.add_metric([value], counts.get(value, 0))
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"ntspool_{name}", text, value=value)


def _certificates(certificates: tuple[CertificateView, ...]) -> Metric:
    family = GaugeMetricFamily(
        "ntspool_certificate_not_after_timestamp_seconds",
        "When the certificate expires, in Unix seconds; by its place in the configuration, and its first name.",
        labels=["certificate", "name"],
    )
    for place, each in enumerate(certificates, 1):
        family.add_metric([str(place), next(iter(each.names), "")], each.not_after)
    return family


def _workers(workers: WorkersView) -> Iterator[Metric]:
    yield _gauge("workers_wanted", "Worker processes that should run.", workers.wanted)
    yield _gauge("workers_running", "Worker processes that run.", len(workers.pids))
    yield CounterMetricFamily("ntspool_worker_deaths", "Worker processes that died.", value=workers.deaths)
    yield CounterMetricFamily(
        "ntspool_worker_replacements", "Worker processes that were replaced on command.", value=workers.replaced
    )


def _sessions(sessions: SessionsView) -> Iterator[Metric]:
    yield counter("sessions", "Sessions that have ended, by outcome.", "outcome", sessions.outcomes, Outcome)
    yield counter("session_failures", "Sessions that were not ok, by reason.", "reason", sessions.reasons)
    yield counter(
        "clients_turned_away", "Clients turned away before TLS, by reason.", "reason", sessions.turned_away, TurnedAway
    )
    yield counter("session_aeads", "Sessions that were ok, by the AEAD negotiated.", "aead", sessions.aeads)
    yield _gauge("sessions_open", "Sessions under way.", sessions.open)
    yield HistogramMetricFamily(
        "ntspool_session_duration_seconds",
        "How long sessions took, from accept to close.",
        buckets=buckets(sessions.duration),
        sum_value=sessions.duration.sum,
    )
    yield HistogramMetricFamily(
        "ntspool_handshake_duration_seconds",
        "How long TLS handshakes took that were finished, from accept.",
        buckets=buckets(sessions.handshake),
        sum_value=sessions.handshake.sum,
    )


def _history(history: HistoryView) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "ntspool_history_records", "Probes and events written to the history on disk.", value=history.written
    )
    yield CounterMetricFamily(
        "ntspool_history_lost_records", "Probes and events that the disk did not take.", value=history.lost
    )
    yield _gauge("history_failing", "Whether the history cannot be written.", history.failing)
    yield _gauge("history_size_bytes", "Bytes of the history on disk.", history.size)


def buckets(histogram: HistogramView) -> list[tuple[str, float]]:
    """Return a histogram's buckets as the library wants them."""
    bounded = zip(histogram.bounds, histogram.counts, strict=False)
    finite = [(floatToGoString(bound), float(count)) for bound, count in bounded if isfinite(bound)]  # type: ignore[no-untyped-call]
    return [*finite, ("+Inf", histogram.count)]


def _keys(keys: Mapping[str, Any]) -> Iterator[Metric]:
    """Yield what `ntspool keys status` tells of the keyring."""
    created = GaugeMetricFamily(
        "ntspool_key_epoch_created_timestamp_seconds",
        "When the epoch's root was made, in Unix seconds.",
        labels=["epoch", "state"],
    )
    sessions = CounterMetricFamily(
        "ntspool_key_epoch_sessions", "Sessions that got cookies of the epoch from this gateway.", labels=["epoch"]
    )
    current = GaugeMetricFamily("ntspool_key_current_epoch", "Number of the current epoch.")
    for epoch in keys.get("epochs", ()):
        created.add_metric([str(epoch["epoch"]), epoch["state"]], epoch["created"])
        sessions.add_metric([str(epoch["epoch"])], epoch["sessions"])
        if epoch["state"] == "current":
            current.add_metric([], epoch["epoch"])
    yield from (current, created, sessions)
    yield _optional("key_rotated_timestamp_seconds", "When the current epoch became so.", keys.get("rotated"))
    yield _optional(
        "key_rotation_interval_seconds", "From one rotation to the next; absent if only on command.", keys.get("rotate")
    )
    yield _optional("key_cookie_life_seconds", "How long a cookie can be spent, at least.", keys.get("life"))


def _publishing(publishing: PublishingView | None) -> Iterator[Metric]:
    """Yield what became of the gateway's DNS records; nothing but names where it publishes none."""
    shown, failing, checked = (
        (publishing.shown, bool(publishing.trouble), publishing.checked) if publishing else (None, None, None)
    )
    yield _optional("dns_published", "Whether a name of the pool leads to this gateway in the DNS.", shown)
    yield _optional("dns_publish_failing", "Whether its DNS records could not be seen or changed.", failing)
    yield _optional("dns_publish_checked_timestamp_seconds", "When they were seen last, in Unix seconds.", checked)
    updates = CounterMetricFamily("ntspool_dns_updates", "Updates of DNS records, by outcome.", labels=["outcome"])
    for outcome, count in publishing.updates.items() if publishing else ():
        updates.add_metric([outcome], count)
    yield updates


def _optional(name: str, text: str, value: float | None) -> Metric:
    family = GaugeMetricFamily(f"ntspool_{name}", text)
    if value is not None:
        family.add_metric([], value)
    return family
