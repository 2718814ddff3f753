"""Made-up gateways: what the page is tested and looked at with."""

import math
import random
from dataclasses import replace

from ntspool.pool.history import History
from ntspool.pool.view import (
    AddressView,
    BackendView,
    CertificateView,
    CheckView,
    EventView,
    GatewayView,
    HistogramView,
    SessionsView,
    WorkersView,
)

NOW = 1_764_030_000.0
DAY = 86400.0


def address(text="192.0.2.1", **more):
    """Return an address that is well."""
    values = {
        "address": text,
        "port": 123,
        "state": "UP",
        "up": True,
        "cause": "",
        "kind": "",
        "aeads": (CheckView("AES-SIV-CMAC-256", "UP", ""), CheckView("AES-128-GCM-SIV", "UP", "")),
        "offset": 12e-6,
        "delay": 0.0123,
        "root_distance": 0.0184,
        "stratum": 1,
        "checked": NOW - 3,
        "answered": NOW - 3,
        "probes": 40321,
        "failures": 3,
        "failures_by_cause": {"no answer": 3},
        "keys": None,
    }
    return AddressView(**{**values, **more})


def backend(name="ntp-1", **more):
    """Return a backend that is well."""
    values = {
        "name": name,
        "state": "UP",
        "admin": "ready",
        "cause": "",
        "since": NOW - 12 * DAY,
        "weight": 10,
        "effective_weight": 10.0,
        "cookies": "chrony",
        "key_group": name,
        "regions": (),
        "addresses": (address(),),
        "sessions": 41234,
        "share": 0.251,
        "fair_share": 0.25,
        "minting": 41,
        "ke": "",
    }
    return BackendView(**{**values, **more})


def keys(names):
    """Return what KeyKeeper.status tells of such backends."""
    states = ("previous", "previous", "current", "next", "future", "future")
    epochs = [
        {
            "epoch": 39 + place,
            "created": NOW - (37 - 7 * min(place, 4)) * DAY,
            "state": state,
            "sessions": 900 * (3 - place),
        }
        for place, state in enumerate(states)
    ]
    proved = {"39": NOW - 20 * DAY, "40": NOW - 15 * DAY, "41": NOW - 9 * DAY, "42": NOW - 2 * DAY}
    return {
        "now": NOW,
        "rotated": NOW - 2.3 * DAY,
        "rotate": 7 * DAY,
        "life": DAY,
        "epochs": epochs,
        "ended": [{"epoch": 38, "ended": NOW - 9 * DAY, "state": "retired"}],
        "backends": [
            {"backend": name, "address": where, "state": "UP", "minting": 41, "proved": proved, "waits": None}
            for name, where in names
        ],
        "agents": [],
    }


def sessions(**more):
    """Return sessions of which nearly all ended well."""
    values = {
        "outcomes": {"ok": 164_210, "refused": 12, "tls failed": 341, "closed by client": 88, "timeout": 7},
        "reasons": {"no common AEAD": 9, "certificate expired": 301},
        "turned_away": {"address rate": 120, "denied": 4},
        "aeads": {"AES-SIV-CMAC-256": 120_000, "AES-128-GCM-SIV": 44_210},
        "duration": HistogramView(
            (0.005, 0.01, 0.05, 0.1, 1.0), (1000, 90_000, 160_000, 164_000, 164_650), 164_658, 4100.0
        ),
        "handshake": HistogramView(
            (0.005, 0.01, 0.05, 0.1, 1.0), (2000, 95_000, 161_000, 164_000, 164_300), 164_310, 2900.0
        ),
        "rate": 48.2,
        "open": 3,
    }
    return SessionsView(**{**values, **more})


def gateway(backends=None, **more):
    """Return a gateway whose backends are these, or four of which all are well."""
    backends = pool() if backends is None else tuple(backends)
    values = {
        "version": "0.1.0",
        "now": NOW,
        "started": NOW - 12 * DAY,
        "revision": 41,
        "ready": True,
        "names": ("ntp-pool.example.com",),
        "listen": ("0.0.0.0:4460", "[::]:4460"),
        "workers": WorkersView(2, (101, 102), 0, 2),
        "backends": backends,
        "sessions": sessions(),
        "certificates": (CertificateView(("ntp-pool.example.com", "ntp-pool.example.net"), NOW + 61 * DAY),),
        "panicking": (),
        "vote": "majority",
        "keys": keys([(each.name, where.address) for each in backends for where in each.addresses]),
    }
    return GatewayView(**{**values, **more})


def pool():
    """Return four backends."""
    return (
        backend("ntp-1", addresses=(address(), address("2001:db8::1", offset=-31e-6, delay=0.0119))),
        backend(
            "ntp-2", addresses=(address("192.0.2.2", offset=-84e-6, delay=0.0041, stratum=2),), regions=("de", "europe")
        ),
        backend("ntp-3", addresses=(address("192.0.2.3", offset=3e-6, delay=0.0298),), share=0.249),
        backend("ntp-4", addresses=(address("192.0.2.4", offset=140e-6, delay=0.0552, stratum=2),), cookies="ntpsec"),
    )


def troubled():
    """Return a gateway of which one backend is down, one on its way there, and one drained."""
    first, second, third, fourth = pool()
    failing = (CheckView("AES-SIV-CMAC-256", "DOWN", "no answer"), CheckView("AES-128-GCM-SIV", "DOWN", "no answer"))
    silent = replace(
        second.addresses[0],
        state="DOWN",
        up=False,
        cause="no answer",
        kind="no answer",
        aeads=failing,
        answered=NOW - 1000,
        failures=63,
    )
    second = replace(second, state="DOWN", cause="no answer", since=NOW - 940, addresses=(silent,))
    shaky = replace(third.addresses[0], state="UP 1/3", cause="NTS NAK")
    third = replace(third, addresses=(shaky,))
    fourth = replace(fourth, state="DRAIN", admin="drain", since=NOW - 3 * 3600, fair_share=0.0)
    ending = CertificateView(("ntp-pool.example.com",), NOW + 6 * DAY)
    return gateway((first, second, third, fourth), certificates=(ending,))


def events():
    """Return what has happened lately."""
    told = [
        ("serving", "info", "", "", "", ""),
        ("reloaded", "info", "", "", "", ""),
        ("keys rotated", "info", "epoch 41", "", "40", "41"),
        ("backend DRAIN", "info", "ntp-4", "operator", "ready", "drain"),
        ("backend DOWN", "warning", "ntp-2", "no answer", "UP", "DOWN"),
    ]
    return [EventView(number, NOW - (6 - number) * 4000, *each) for number, each in enumerate(told, 1)]


def history(view, minutes=360):
    """Return the last minutes of a gateway, with plausible noise."""
    chance = random.Random(5)
    kept = History()
    phase = {each.name: chance.random() * 6 for each in view.backends}
    for minute in range(minutes, -1, -1):
        now = view.now - minute * 60
        backends = tuple(_past(each, now, view.now, phase[each.name], chance) for each in view.backends)
        rate = view.sessions.rate * (1 + 0.5 * math.sin(minute / 70) + chance.gauss(0, 0.06))
        kept.observe(replace(view, now=now, backends=backends, sessions=replace(view.sessions, rate=max(rate, 0.0))))
    return kept


def _past(each, now, today, phase, chance):
    back = (today - now) / 3600
    up = each.state != "DOWN" or now < each.since
    addresses = tuple(
        replace(
            one,
            kind="" if up else "no answer",
            up=up and not (one.address == "192.0.2.3" and 2.1 < back < 2.3),
            checked=now,
            answered=now if up else now - 1,
            offset=(one.offset or 0) + 60e-6 * math.sin(back * 1.7 + phase) + chance.gauss(0, 12e-6),
            delay=(one.delay or 0.01) * (1 + abs(chance.gauss(0, 0.04)) + 0.1 * math.sin(back + phase)),
        )
        for one in each.addresses
    )
    return replace(each, addresses=addresses)
