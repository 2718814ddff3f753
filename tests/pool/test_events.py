"""Which lines of the log are events, and what is told of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.pool.events import happened

ADDRESS = {"backend": "ntp-1", "address": "192.0.2.1"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            {"event": "backend DOWN", **ADDRESS, "cause": "NTS NAK"},
            ("ntp-1 192.0.2.1", "NTS NAK", "UP", "DOWN"),
        ),
        (
            {"event": "aead UP", **ADDRESS, "aead": "AES-SIV-CMAC-512", "cause": ""},
            ("ntp-1 192.0.2.1 AES-SIV-CMAC-512", "", "DOWN", "UP"),
        ),
        (
            {"event": "admin state", "backend": "a", "before": "ready", "after": "drain", "cause": "the admin API"},
            ("a", "the admin API", "ready", "drain"),
        ),
        ({"event": "panic", "family": "IPv6", "state": "off", "effect": "so"}, ("IPv6", "so", "on", "off")),
        (
            {"event": "offset vote", "before": "local clock", "mode": "majority", "effect": "so"},
            ("", "so", "local clock", "majority"),
        ),
        ({"event": "keys behind", **ADDRESS, "cause": "late"}, ("ntp-1 192.0.2.1", "late", "current", "behind")),
        ({"event": "keys current", **ADDRESS}, ("ntp-1 192.0.2.1", "", "behind", "current")),
        ({"event": "keys rotated", "epoch": 4, "before": 3}, ("epoch 4", "", "3", "4")),
        ({"event": "epoch revoked", "epoch": 3, "current": 4}, ("epoch 3", "", "", "4")),
        ({"event": "worker died", "worker": 0, "reason": "status -9"}, ("worker 0", "status -9", "", "")),
        (
            {"event": "DNS: changed", "name": "a.example", "before": ["192.0.2.1"], "after": ["192.0.2.2", "::1"]},
            ("a.example", "", "192.0.2.1", "192.0.2.2, ::1"),
        ),
        (
            {"event": "DNS publishing: trouble", "server": "192.0.2.53 port 53", "reason": "REFUSED"},
            ("192.0.2.53 port 53", "REFUSED", "", ""),
        ),
        (
            {"event": "DNS records changed", "name": "p.example", "type": "A", "before": [], "after": ["192.0.2.1"]},
            ("p.example A", "", "", "192.0.2.1"),
        ),
        (
            {"event": "reload refused, the old configuration stays", "mistakes": ["a:1: x", "a:2: y"]},
            ("", "a:1: x, a:2: y", "", ""),
        ),
        (
            {"event": "configuration changed", "key": "workers", "before": "", "after": "3"},
            ("workers", "", "", "3"),
        ),
    ],
)
def test_what_is_told_of_an_event(words, told):
    event = happened({"level": "info", **words}, 7, 5.0)
    assert (event.number, event.time, event.event, event.level) == (7, 5.0, words["event"], "info")
    assert (event.subject, event.cause, event.before, event.after) == told


@pytest.mark.parametrize("event", ["session", "check", "keys fetched", "agent reports", "control: refused", None])
def test_the_rest_of_the_log_is_no_event(event):
    assert happened({"event": event, "level": "info"}, 1, 0.0) is None


@given(st.text(max_size=2000))
def test_a_cause_is_bounded(cause):
    event = happened({"event": "backend DOWN", **ADDRESS, "cause": cause}, 1, 0.0)
    assert len(event.cause) <= 500
    assert cause.startswith(event.cause)
