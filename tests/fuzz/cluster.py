"""What gateways tell each other, and what the store that they share answers."""

import base64
import json
from ipaddress import ip_address

from ntspool.pool import cluster, quorum
from ntspool.pool.cluster import GatewayReport
from ntspool.pool.publishing import Gateway
from ntspool.pool.quorum import Opinion
from ntspool.wire import etcd
from tests.fuzz.engine import Target

SHOWN = Gateway((ip_address("192.0.2.1"), ip_address("2001:db8::1")), host="gw1.example.com", weight=5)
REPORTS = [
    GatewayReport("north", 1000.5, 900.0, "1.0", SHOWN, ready=True, epoch=7, revisions={"keyring": "0a1b"}).encode(),
    GatewayReport("south", 1e9, 0.0, "", withdrawn="cut off", stopped=True, reached={3: 1.0, 4: 2.5}).encode(),
]
OPINIONS = [
    Opinion(frozenset({"ntp-1", "ntp-2"}), {"ntp-3": "no answer"}).encode(),
    Opinion().encode(),
]
KV = {"key": base64.b64encode(b"/p/a").decode(), "value": "AAECAw==", "mod_revision": "9"}
HEADER = {"revision": "12"}
ANSWERS = [
    json.dumps(each).encode()
    for each in (
        {"header": HEADER, "kvs": [KV], "count": "1"},
        {"header": HEADER, "succeeded": True},
        {"header": HEADER, "responses": [{"response_range": {"kvs": [KV]}}]},
        {"result": {"header": HEADER, "events": [{"kv": KV}, {"type": "DELETE", "kv": KV}]}},
        {"result": {"header": HEADER, "canceled": True, "compact_revision": "3"}},
        {"error": "etcdserver: invalid auth token", "code": 16},
    )
]


def check_report(data, _):
    found = cluster.decode(data)
    assert cluster.decode(found.encode()) == found
    assert found.name.isprintable()
    assert found.withdrawn.isprintable()


def check_opinion(data, _):
    found = quorum.decode(data)
    assert quorum.decode(found.encode()) == found
    assert all(each.isprintable() for each in (*found.up, *found.down, *found.down.values()))


def check_answer(data, _):
    assert etcd.refusal(data).words.isprintable()
    assert etcd.watched(data).ended.isprintable()
    for read in (etcd.kept, etcd.outcome, etcd.written, etcd.granted, etcd.kept_alive):
        read(data)


TARGETS = [
    Target("gateways report", 10_000, REPORTS, check_report),
    Target("gateways opinion", 5_000, OPINIONS, check_opinion),
    Target("etcds answer", 10_000, ANSWERS, check_answer),
]
