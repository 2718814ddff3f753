"""The metrics: what they say, that they can be read back whatever the names are, and the three addresses over HTTP."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given, settings
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from ntspool.net.metrics import GatewayCollector, add_routes, exposition, unready
from tests.deploy.promtool import promtool
from tests.net.gatewayviews import NOW, address, any_gateway, backend, cluster, gateway, grown, keys

OPENMETRICS = "application/openmetrics-text;version=1.0.0"


def samples(view, accept=""):
    """Return the samples of a view by name and labels, as a scraper of this format reads them."""
    body, content_type = exposition(view, accept)
    read = openmetrics_parser if "openmetrics" in content_type else parser
    found = {}
    for family in read.text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            series = (sample.name, frozenset(sample.labels.items()))
            assert series not in found
            found[series] = sample.value
    return found


def value(view, name, /, **labels):
    return samples(view).get((f"ntspool_{name}", frozenset(labels.items())))


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("build_info", {"version": "1.2.3"}, 1),
        ("start_time_seconds", {}, NOW - 86400),
        ("ready", {}, 1),
        ("snapshot_revision", {}, 12),
        ("panic", {"family": "IPv4"}, 0),
        ("offset_vote_mode", {"mode": "majority"}, 1),
        ("offset_vote_mode", {"mode": "no majority"}, 0),
        ("certificate_not_after_timestamp_seconds", {"certificate": "2", "name": "pool.example.com"}, NOW + 30 * 86400),
        ("workers_wanted", {}, 2),
        ("workers_running", {}, 2),
        ("worker_deaths_total", {}, 1),
        ("worker_replacements_total", {}, 4),
        ("sessions_total", {"outcome": "ok"}, 830),
        ("sessions_total", {"outcome": "timeout"}, 0),
        ("session_failures_total", {"reason": "no backend"}, 3),
        ("clients_turned_away_total", {"reason": "overload"}, 9),
        ("clients_turned_away_total", {"reason": "network rate"}, 0),
        ("session_aeads_total", {"aead": "AES-128-GCM-SIV"}, 30),
        ("sessions_open", {}, 5),
        ("upstream_connections", {"backend": "ntp-2"}, 3),
        ("upstream_answers_total", {"backend": "ntp-2"}, 430),
        ("upstream_avoided_total", {"backend": "ntp-2"}, 2),
        ("upstream_failures_total", {"backend": "ntp-2", "cause": "token refused"}, 1),
        ("upstream_answer_duration_seconds_bucket", {"le": "0.005"}, 100),
        ("upstream_wait_duration_seconds_sum", {}, 1.5),
        ("session_duration_seconds_bucket", {"le": "0.05"}, 830),
        ("session_duration_seconds_bucket", {"le": "+Inf"}, 840),
        ("session_duration_seconds_count", {}, 840),
        ("session_duration_seconds_sum", {}, 12.5),
        ("key_current_epoch", {}, 7),
        ("key_epoch_created_timestamp_seconds", {"epoch": "8", "state": "next"}, NOW - 7 * 86400),
        ("key_epoch_sessions_total", {"epoch": "7"}, 77),
        ("key_rotated_timestamp_seconds", {}, NOW - 86400),
        ("key_rotation_interval_seconds", {}, 7 * 86400),
        ("key_cookie_life_seconds", {}, 86400),
        ("backend_info", {"backend": "ntp-1", "cookies": "chrony", "key_group": "ntp-1"}, 1),
        ("backend_state", {"backend": "ntp-2", "state": "DRAIN"}, 1),
        ("backend_state", {"backend": "ntp-2", "state": "UP"}, 0),
        ("backend_state_since_timestamp_seconds", {"backend": "ntp-1"}, NOW - 3600),
        ("backend_weight", {"backend": "ntp-1"}, 10),
        ("backend_effective_weight", {"backend": "ntp-1"}, 10),
        ("backend_fair_share_ratio", {"backend": "ntp-1"}, 0.5),
        ("backend_minting_epoch", {"backend": "ntp-1"}, 7),
        ("backend_assignments_total", {"backend": "ntp-2"}, 430),
        ("backend_address_up", {"backend": "ntp-1", "address": "2001:db8::1"}, 1),
        ("backend_address_offset_seconds", {"backend": "ntp-1", "address": "192.0.2.1"}, 0.0001),
        ("backend_address_offset_seconds", {"backend": "ntp-1", "address": "2001:db8::1"}, None),
        ("backend_address_delay_seconds", {"backend": "ntp-1", "address": "192.0.2.1"}, 0.002),
        ("backend_address_root_distance_seconds", {"backend": "ntp-1", "address": "192.0.2.1"}, 0.01),
        ("backend_address_stratum", {"backend": "ntp-1", "address": "192.0.2.1"}, 2),
        ("backend_address_checked_timestamp_seconds", {"backend": "ntp-1", "address": "192.0.2.1"}, NOW - 3),
        ("backend_address_answered_timestamp_seconds", {"backend": "ntp-1", "address": "192.0.2.1"}, NOW - 3),
        ("backend_address_keys_behind", {"backend": "ntp-1", "address": "192.0.2.1"}, 0),
        (
            "backend_address_aead_up",
            {"backend": "ntp-1", "address": "192.0.2.1", "aead": "AES-128-GCM-SIV"},
            0,
        ),
        ("backend_address_own_epoch", {"backend": "ntp-1", "address": "192.0.2.1"}, 7),
        ("backend_address_proved_epoch", {"backend": "ntp-1", "address": "192.0.2.1"}, 8),
        ("backend_rotation_waits", {"backend": "ntp-1"}, 0),
        ("probes_total", {"backend": "ntp-1", "address": "192.0.2.1"}, 1000),
        ("probe_failures_total", {"backend": "ntp-1", "address": "192.0.2.1", "cause": "NTS NAK"}, 2),
        ("agent_seen_timestamp_seconds", {"backend": "ntp-1"}, NOW - 10),
        ("agent_reported_timestamp_seconds", {"backend": "ntp-1"}, NOW - 86400),
        ("agent_proved_epoch", {"backend": "ntp-1"}, 8),
        ("agent_failing", {"backend": "ntp-1"}, 0),
        ("store_reached", {}, 1),
        ("store_since_timestamp_seconds", {}, NOW - 3600),
        ("store_operations_total", {"operation": "get", "result": "ok"}, 3),
        ("store_operation_seconds_total", {"operation": "put"}, 5.0),
        ("cluster_gateway_up", {"gateway": "west"}, 0),
        ("cluster_gateway_ready", {"gateway": "south"}, 1),
        ("cluster_gateway_agrees", {"gateway": "west"}, 0),
        ("cluster_gateway_leads", {"gateway": "north"}, 1),
        ("cluster_backend_disputed", {"backend": "ntp-1", "here": "yes"}, 1),
        ("cluster_backend_disputed", {"backend": "ntp-2", "here": "no"}, 1),
        ("cluster_withdrawn", {}, 0),
        ("dns_published", {}, 1),
        ("dns_publish_failing", {}, 0),
        ("dns_publish_checked_timestamp_seconds", {}, NOW - 12),
        ("dns_updates_total", {"outcome": "overtaken"}, 1),
    ],
)
def test_what_a_gateway_tells(name, labels, expected):
    assert value(gateway(), name, **labels) == expected


@pytest.mark.parametrize(
    ("changes", "name", "labels", "expected"),
    [
        ({"ready": False}, "ready", {}, 0),
        ({"panicking": ("IPv6",)}, "panic", {"family": "IPv6"}, 1),
        ({"vote": "local clock"}, "offset_vote_mode", {"mode": "local clock"}, 1),
        ({"keys": keys(rotate=None)}, "key_rotation_interval_seconds", {}, None),
        ({"keys": keys("gone")}, "agent_seen_timestamp_seconds", {"backend": "gone"}, None),
        ({"keys": keys("gone")}, "backend_rotation_waits", {"backend": "ntp-1"}, 0),
        ({"keys": {}}, "key_current_epoch", {}, None),
        ({"cluster": None}, "store_reached", {}, None),
        ({"cluster": cluster(away="no answer")}, "store_reached", {}, 0),
        ({"cluster": cluster(withdrawn="cut off")}, "cluster_withdrawn", {}, 1),
        ({"publishing": None}, "dns_published", {}, None),
        ({"publishing": replace(gateway().publishing, trouble="REFUSED")}, "dns_publish_failing", {}, 1),
    ],
)
def test_what_a_gateway_tells_in_other_circumstances(changes, name, labels, expected):
    assert value(gateway(**changes), name, **labels) == expected


def test_keys_that_keep_a_rotation_waiting_or_were_never_proved():
    told = keys("ntp-1", "ntp-2")
    told["backends"][0] |= {"proved": {}, "minting": None, "waits": "it has not loaded epoch 6 or a newer one"}
    told["agents"][0] |= {"reported": None, "proved": [], "failure": "chronyc: 500 Failure"}
    view = gateway(keys=told)
    assert value(view, "backend_rotation_waits", backend="ntp-1") == 1
    assert value(view, "backend_rotation_waits", backend="ntp-2") == 0
    assert value(view, "backend_address_proved_epoch", backend="ntp-1", address="192.0.2.1") is None
    assert value(view, "agent_failing", backend="ntp-1") == 1
    assert value(view, "agent_proved_epoch", backend="ntp-1") is None


def test_an_epoch_of_ten_digits_is_newer_than_one_of_nine():
    told = keys("ntp-1")
    told["backends"][0]["proved"] = {"9": NOW, "10": NOW}
    view = gateway(keys=told)
    assert value(view, "backend_address_proved_epoch", backend="ntp-1", address="192.0.2.1") == 10


def test_causes_that_are_not_ours_are_one_label():
    """The figures in a cause's text would be a new series each time."""
    causes = {"offset vote (+0.300 s)": 1, "offset vote (+0.301 s)": 2, "no answer": 4}
    view = gateway(backends=(backend(addresses=(address(failures_by_cause=causes),)),))
    labels = {"backend": "ntp-1", "address": "192.0.2.1"}
    assert value(view, "probe_failures_total", **labels, cause="other") == 3
    assert value(view, "probe_failures_total", **labels, cause="no answer") == 4
    assert sum(name == "ntspool_probe_failures_total" for name, _ in samples(view)) == 2


def test_names_are_escaped():
    name = 'back\\slash "quoted"\nline'
    view = gateway(backends=(backend(name),))
    assert value(view, "backend_state", backend=name, state="UP") == 1


@settings(max_examples=50)
@given(any_gateway())
def test_any_view_reads_back_alike_in_both_formats(view):
    plain, open_format = samples(view), samples(view, OPENMETRICS)
    # Not the values: not a number is not equal to itself.
    assert plain.keys() == open_format.keys()
    names = [each.name for each in GatewayCollector(view).collect()]
    assert len(names) == len(set(names))


@settings(max_examples=30)
@given(any_gateway())
def test_counters_never_decrease(view):
    before, after = samples(view), samples(grown(view))
    counts = [each for each in before if each[0].endswith(("_total", "_bucket", "_count"))]
    assert counts
    assert [each for each in counts if after[each] < before[each]] == []


@settings(max_examples=30)
@given(any_gateway())
def test_series_are_bounded_by_what_is_configured(view):
    """Besides session failures, whose reasons are the session's own words."""
    bounded = Counter(name for name, _ in samples(view))
    addresses = sum(len(each.addresses) for each in view.backends)
    for name, count in bounded.items():
        if name.startswith("ntspool_backend_address_") and "aead" not in name:
            assert count <= addresses + len(view.backends)
        elif name.startswith("ntspool_agent_"):
            assert count <= len(view.backends)


def test_names_follow_the_conventions():
    for family in GatewayCollector(gateway()).collect():
        assert family.name.startswith("ntspool_")
        assert family.documentation.endswith(".")
        suffixes = ("_total", "_count", "_sum", "_bucket", "_info", "_created")
        assert not family.name.endswith(suffixes), "which the library adds itself"
        assert "milli" not in family.name


def test_promtool_has_nothing_against_the_metrics():
    done = promtool("check", "metrics", input=exposition(gateway())[0])
    assert (done.returncode, done.stdout) == (0, b"")


def _get(view, path, **headers):
    """Return status, content type and text of one answer."""

    async def run():
        app = web.Application()
        add_routes(app, view if callable(view) else lambda: view)
        async with TestClient(TestServer(app)) as client, client.get(path, headers=headers) as response:
            return response.status, response.headers["Content-Type"], await response.text()

    return asyncio.run(run())


def test_a_scraper_gets_the_format_that_it_asks_for():
    status, content_type, body = _get(gateway(), "/metrics")
    assert (status, content_type.split(";")[0]) == (200, "text/plain")
    assert parser.text_string_to_metric_families(body)
    status, content_type, body = _get(gateway(), "/metrics", Accept=f"{OPENMETRICS},text/plain;q=0.5")
    assert (status, content_type.split(";")[0]) == (200, "application/openmetrics-text")
    assert body.endswith("# EOF\n")


@pytest.mark.parametrize("version", ["zzz", "", "1.0.0.7", "9;escaping=values"])
@pytest.mark.parametrize("kind", ["application/openmetrics-text", "text/plain"])
def test_a_strange_accept_header_makes_no_format_of_its_own(kind, version):
    status, content_type, body = _get(gateway(), "/metrics", Accept=f"{kind};version={version}")
    assert (status, content_type.split(";")[0]) == (200, kind)
    assert content_type == exposition(gateway(), kind)[1]
    assert body.encode() == exposition(gateway(), kind)[0]


def test_a_crowd_of_scrapers_costs_no_more_than_one():
    asked = []

    def view():
        asked.append(1)
        return gateway()

    async def run():
        app = web.Application()
        add_routes(app, view)
        async with TestClient(TestServer(app)) as client:

            async def scrape(accept):
                async with client.get("/metrics", headers={"Accept": accept}) as response:
                    return response.content_type, await response.text()

            wanted = ["text/plain", OPENMETRICS] * 20
            return await asyncio.gather(*map(scrape, wanted))

    answers = asyncio.run(run())
    assert {content_type for content_type, _ in answers} == {"text/plain", "application/openmetrics-text"}
    assert len(set(answers)) == 2
    # Two formats; a slow machine may need longer than they stay fresh.
    assert 2 <= len(asked) < 20


def test_health_needs_no_view():
    status, _, text = _get(None, "/healthz")
    assert (status, text) == (200, "ok\n")


DOWN = replace(backend(), state="DOWN")


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (gateway(), (200, "ready\n")),
        (gateway(ready=False), (503, "not ready\n")),
        (gateway(ready=False, backends=(DOWN,)), (503, "no backend is UP\n")),
        (gateway(ready=False, backends=()), (503, "no backend is UP\n")),
        (gateway(ready=False, cluster=cluster(withdrawn="it misses all")), (503, "cut off: it misses all\n")),
        (gateway(ready=False, certificates=()), (503, "no certificate\n")),
        (gateway(ready=False, workers=replace(gateway().workers, pids=())), (503, "no worker runs\n")),
        # The view's own word counts: it knows more, such as that a drained backend is all that is left.
        (gateway(backends=(DOWN,)), (200, "ready\n")),
    ],
)
def test_readiness_comes_with_a_reason(view, expected):
    status, _, text = _get(view, "/readyz")
    assert (status, text) == expected
    assert bool(unready(view)) == (status == 503)
