"""What gateways tell each other, and what the store that they share answers."""

import base64
import json
from contextlib import suppress
from ipaddress import ip_address

from ntspool.errors import WireError
from ntspool.pool import cluster, quorum
from ntspool.pool.cluster import GatewayReport
from ntspool.pool.publishing import Gateway
from ntspool.pool.quorum import Opinion
from ntspool.wire import etcd
from ntspool.wire.lines import LineBuffer
from tests.fuzz.engine import Target
from tests.fuzz.negotiation import cut

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
    with suppress(WireError):
        assert etcd.watched(data).ended.isprintable()
    readers = (etcd.token, etcd.kept, etcd.outcome, etcd.written, etcd.granted, etcd.kept_alive)
    refusals = []
    for read in readers:
        try:
            read(data)
        except WireError as error:
            refusals.append(error)
    if len(refusals) == len(readers):
        raise refusals[0]


def check_watch(data, rng):
    whole, pieces = (lines(each) for each in ([data], cut(rng, data)))
    assert whole == pieces
    if isinstance(whole, str):
        raise WireError(whole)
    for line in whole:
        with suppress(WireError):
            etcd.watched(line)


def lines(pieces):
    """Return the lines of a stream that comes in pieces, or why it was refused."""
    buffer, found = LineBuffer(LONGEST_LINE), []
    for piece in pieces:
        try:
            found += buffer.receive_data(piece)
        except WireError as error:
            return str(error)
    return found


LONGEST_LINE = 400
TARGETS = [
    Target(
        "gateways report",
        "Gives a report that is written as it was read, with printable words, or WireError.",
        6_000,
        REPORTS,
        check_report,
    ),
    Target(
        "gateways opinion",
        "Gives an opinion that is written as it was read, with printable words, or WireError.",
        5_000,
        OPINIONS,
        check_opinion,
    ),
    Target(
        "etcds answer",
        "Gives what was asked for, or WireError; its words are printable.",
        4_000,
        ANSWERS,
        check_answer,
    ),
    Target(
        "etcds watch",
        "Gives the same lines whole and in pieces, or WireError for one above the limit.",
        3_000,
        [b"\n".join(ANSWERS) + b"\n", ANSWERS[-1] + b"\n\n" + b" " * 500],
        check_watch,
    ),
]
