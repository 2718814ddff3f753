"""etcd's JSON: what is asked is what etcd understands, what is answered is understood or refused."""

import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import WireError
from ntspool.wire import etcd
from ntspool.wire.etcd import Change, Kept, Outcome, Refusal, Watched
from ntspool.wire.secret import Secret


def b64(data):
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


HEADER = {"cluster_id": "15118495548433857066", "member_id": "1", "revision": "12", "raft_term": "2"}
KV = {"key": b64("/p/a"), "create_revision": "2", "mod_revision": "9", "version": "1", "value": b64(b"\x00one")}


def answer(**body):
    return json.dumps({"header": HEADER, **body}).encode()


def test_questions():
    assert json.loads(etcd.read("/p/a")) == {"key": b64("/p/a")}
    # The end of a range is the first key behind it.
    assert json.loads(etcd.read_all("/p/")) == {"key": b64("/p/"), "range_end": b64("/p0")}
    assert json.loads(etcd.put("/p/a", b"x")) == {"key": b64("/p/a"), "value": b64("x")}
    assert json.loads(etcd.put("/p/a", b"", 7)) == {"key": b64("/p/a"), "value": "", "lease": "7"}
    assert json.loads(etcd.put_if("/p/a", b"x", 9)) == {
        "compare": [{"target": "MOD", "key": b64("/p/a"), "result": "EQUAL", "mod_revision": "9"}],
        "success": [{"request_put": {"key": b64("/p/a"), "value": b64("x")}}],
        "failure": [{"request_range": {"key": b64("/p/a")}}],
    }
    assert json.loads(etcd.watch("/p/", 13))["create_request"] == {
        "key": b64("/p/"),
        "range_end": b64("/p0"),
        "start_revision": "13",
    }
    assert json.loads(etcd.grant(10)) == {"TTL": "10"}
    assert json.loads(etcd.lease(2**62)) == {"ID": str(2**62)}
    assert json.loads(etcd.authenticate("me", Secret(b"word"))) == {"name": "me", "password": "word"}
    assert json.loads(etcd.delete("/p/a")) == {"key": b64("/p/a")}


def test_answers():
    assert etcd.kept(answer(kvs=[KV], count="1")) == ((Kept("/p/a", b"\x00one", 9),), 12)
    assert etcd.kept(answer()) == ((), 12)
    assert etcd.outcome(answer(succeeded=True, responses=[{"response_put": {}}])) == Outcome(done=True, revision=12)
    there = {"response_range": {"kvs": [KV]}}
    assert etcd.outcome(answer(responses=[there])) == Outcome(False, 12, Kept("/p/a", b"\x00one", 9))
    assert etcd.outcome(answer(responses=[{"response_range": {}}])) == Outcome(False, 12, None)
    assert etcd.granted(answer(ID="4111120227052131337", TTL="10")) == 4111120227052131337
    assert etcd.kept_alive(b'{"result": {"ID": "5", "TTL": "10"}}') == 10
    assert etcd.kept_alive(b'{"result": {"ID": "5"}}') == 0
    assert etcd.token(b'{"token": "abc.12"}') == Secret(b"abc.12")
    assert etcd.written(answer()) == 12


def test_what_a_watch_says():
    created = json.dumps({"result": {"header": HEADER, "created": True}}).encode()
    assert etcd.watched(created) == Watched(12)
    gone = {"type": "DELETE", "kv": {"key": b64("/p/b"), "mod_revision": "10"}}
    changes = json.dumps({"result": {"header": HEADER, "events": [{"kv": KV}, gone]}}).encode()
    assert etcd.watched(changes).changes == (Change("/p/a", b"\x00one", 9), Change("/p/b", None, 10))
    compacted = json.dumps({"result": {"header": HEADER, "canceled": True, "compact_revision": "3"}}).encode()
    assert etcd.watched(compacted).compacted
    refused = json.dumps({"result": {"header": HEADER, "canceled": True, "cancel_reason": "no\nright"}}).encode()
    assert etcd.watched(refused).ended == "no right"
    assert etcd.watched(b'{"error": {"message": "no leader"}}').ended == "no leader"


def test_refusals():
    body = b'{"error":"etcdserver: invalid auth token","message":"etcdserver: invalid auth token","code":16}'
    assert etcd.refusal(body) == Refusal(16, "etcdserver: invalid auth token")
    assert etcd.refusal(body).wants_token
    assert etcd.refusal(b'{"error":"etcdserver: revision of auth store is old","code":3}').wants_token
    assert not etcd.refusal(b'{"error":"etcdserver: permission denied","code":7}').wants_token
    assert etcd.refusal(b"CommonName of client\n") == Refusal(0, "CommonName of client")
    assert etcd.refusal(b"").words == "an answer that is not etcd's"
    assert etcd.refusal(b'{"error":{"message":"words","code":14}}') == Refusal(14, "words")


MALFORMED = [
    b"",
    b"[]",
    b'{"header": 3}',
    b'{"header": {"revision": "1e3"}}',
    b'{"header": {"revision": true}}',
    b'{"kvs": 3}',
    b'{"kvs": [3]}',
    b'{"kvs": [{"key": "!"}]}',
    b'{"kvs": [{"value": "eA=="}]}',
    json.dumps({"kvs": [{"key": b64(b"\xff")}]}).encode(),
    b"[" * 100_000,
]


@pytest.mark.parametrize("data", MALFORMED, ids=lambda data: str(data[:30]))
def test_what_is_malformed_is_refused(data):
    with pytest.raises(WireError):
        etcd.kept(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["header", "kvs", "key", "value", "revision", "mod_revision", "result", "events", "kv", "error"]
            )
            | st.sampled_from(
                ["responses", "response_range", "succeeded", "ID", "TTL", "token", "code", "message", "type"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
READERS = [etcd.kept, etcd.outcome, etcd.written, etcd.granted, etcd.kept_alive, etcd.watched, etcd.token]


@given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=50))
def test_no_answer_raises_anything_else(data):
    for read in READERS:
        with suppress(WireError):
            read(data)
    etcd.refusal(data)


@given(st.text(min_size=1, max_size=20), st.binary(max_size=60), st.integers(0, 2**62))
def test_what_is_written_can_be_read(key, data, revision):
    body = json.loads(etcd.put(key, data))
    held = json.dumps({"kvs": [{**body, "mod_revision": str(revision)}]}).encode()
    assert etcd.kept(held)[0] == (Kept(key, data, revision),)
