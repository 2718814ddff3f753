"""The metrics of backends and their agents; labels are names, addresses and words of ours, never a client's."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

from ntspool.pool.causes import Cause
from ntspool.pool.view import AddressView, BackendView, GatewayView

STATES = ("UP", "DOWN", "DRAIN", "MAINT")
"""The states of a backend, as HAProxy calls them."""

_CAUSES = frozenset(map(str, Cause))


def families(view: GatewayView) -> Iterator[Metric]:
    """Yield the metric families of all backends, of their addresses, of their keys and agents."""
    yield from _backends(view.backends)
    yield from _addresses(view.backends)
    yield _aeads(view.backends)
    yield from _probes(view.backends)
    yield from _proofs(view)
    yield from _agents(view)


def _backends(backends: tuple[BackendView, ...]) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "ntspool_backend_state", "Whether the backend is in this state.", labels=["backend", "state"]
    )
    info = InfoMetricFamily(
        "ntspool_backend", "What is declared of the backend.", labels=["backend", "cookies", "key_group"]
    )
    assigned = CounterMetricFamily(
        "ntspool_backend_assignments", "Sessions that were given this backend.", labels=["backend"]
    )
    for each in backends:
        info.add_metric([each.name, each.cookies, each.key_group], {})
        assigned.add_metric([each.name], each.sessions)
        for word in dict.fromkeys((*STATES, each.state)):
            state.add_metric([each.name, word], word == each.state)
    yield from (info, state, assigned)
    figures: tuple[tuple[str, str, Callable[[BackendView], float | None]], ...] = (
        ("state_since_timestamp_seconds", "Since when the backend is in its state.", lambda each: each.since),
        ("weight", "The weight declared.", lambda each: each.weight),
        ("effective_weight", "The weight now: an operator's, slow start.", lambda each: each.effective_weight),
        ("fair_share_ratio", "The part of all sessions that its weight gives it now.", lambda each: each.fair_share),
        ("minting_epoch", "The epoch that clients' cookies are minted under.", lambda each: each.minting),
    )
    for name, text, figure in figures:
        family = GaugeMetricFamily(f"ntspool_backend_{name}", text, labels=["backend"])
        for each in backends:
            _add(family, [each.name], figure(each))
        yield family


def _addresses(backends: tuple[BackendView, ...]) -> Iterator[Metric]:
    figures: tuple[tuple[str, str, Callable[[AddressView], float | None]], ...] = (
        ("up", "Whether clients may be sent to the address.", lambda each: each.up),
        ("keys_behind", "Whether it is not minted for under the current epoch.", lambda each: each.keys is not None),
        ("offset_seconds", "How far its clock is ahead of the pool's.", lambda each: each.offset),
        ("delay_seconds", "Round trip of the newest measurement.", lambda each: each.delay),
        ("root_distance_seconds", "Root distance of the newest measurement.", lambda each: each.root_distance),
        ("stratum", "Stratum of the newest measurement.", lambda each: each.stratum),
        ("checked_timestamp_seconds", "When it was last probed.", lambda each: each.checked),
        ("answered_timestamp_seconds", "When a probe last found it good.", lambda each: each.answered),
    )
    for name, text, figure in figures:
        family = GaugeMetricFamily(f"ntspool_backend_address_{name}", text, labels=["backend", "address"])
        for backend in backends:
            for each in backend.addresses:
                _add(family, [backend.name, each.address], figure(each))
        yield family


def _aeads(backends: tuple[BackendView, ...]) -> Metric:
    family = GaugeMetricFamily(
        "ntspool_backend_address_aead_up",
        "Whether probes with this AEAD find the address good.",
        labels=["backend", "address", "aead"],
    )
    for backend in backends:
        for address in backend.addresses:
            for check in address.aeads:
                family.add_metric([backend.name, address.address, check.aead], check.state.split(" ")[0] == "UP")
    return family


def _probes(backends: tuple[BackendView, ...]) -> Iterator[Metric]:
    probes = CounterMetricFamily("ntspool_probes", "Probes that have ended.", labels=["backend", "address"])
    failures = CounterMetricFamily(
        "ntspool_probe_failures", "Probes that did not find the address good.", labels=["backend", "address", "cause"]
    )
    for backend in backends:
        for each in backend.addresses:
            probes.add_metric([backend.name, each.address], each.probes)
            for cause, count in _by_cause(each.failures_by_cause).items():
                failures.add_metric([backend.name, each.address, cause], count)
    yield from (probes, failures)


def _by_cause(counts: Mapping[str, int]) -> Counter[str]:
    """Return the failures by Cause; what is none, such as a cause with its figures, is `other`."""
    known: Counter[str] = Counter()
    for cause, count in counts.items():
        known[str(cause) if cause in _CAUSES else "other"] += count
    return known


def _proofs(view: GatewayView) -> Iterator[Metric]:
    labels = ["backend", "address"]
    own = GaugeMetricFamily(
        "ntspool_backend_address_own_epoch", "The epoch of the cookies that the backend itself makes.", labels=labels
    )
    proved = GaugeMetricFamily(
        "ntspool_backend_address_proved_epoch", "The newest epoch whose cookies it has answered.", labels=labels
    )
    waits = GaugeMetricFamily(
        "ntspool_backend_rotation_waits", "Whether a rotation now would cost its clients NAKs.", labels=["backend"]
    )
    waiting = {each.name: False for each in view.backends}
    for proof in _told(view, "backends"):
        _add(own, [proof["backend"], proof["address"]], proof["minting"])
        _add(proved, [proof["backend"], proof["address"]], max(map(int, proof["proved"]), default=None))
        waiting[proof["backend"]] |= proof["waits"] is not None
    for name, value in waiting.items():
        waits.add_metric([name], value)
    yield from (own, proved, waits)


def _agents(view: GatewayView) -> Iterator[Metric]:
    figures: tuple[tuple[str, str, Callable[[Mapping[str, Any]], float | None]], ...] = (
        ("seen_timestamp_seconds", "When the backend's agent last asked for something.", lambda each: each["seen"]),
        ("reported_timestamp_seconds", "When it last reported.", lambda each: each["reported"]),
        ("proved_epoch", "The newest epoch that it has proved.", lambda each: max(each["proved"], default=None)),
        ("failing", "Whether its last report was a failure.", lambda each: each["failure"] is not None),
    )
    for name, text, figure in figures:
        family = GaugeMetricFamily(f"ntspool_agent_{name}", text, labels=["backend"])
        for each in _told(view, "agents"):
            _add(family, [each["backend"]], figure(each))
        yield family


def _told(view: GatewayView, what: str) -> list[Mapping[str, Any]]:
    """Return the entries of the keys' status for backends that are declared now."""
    names = {each.name for each in view.backends}
    entries: Any = view.keys.get(what, ())
    return [each for each in entries if each["backend"] in names]


def _add(family: GaugeMetricFamily, labels: list[str], value: float | None) -> None:
    if value is not None:
        family.add_metric(labels, value)
