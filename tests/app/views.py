"""A made-up gateway in trouble, as the admin API shows it: one backend of every state, and some with two addresses."""

from dataclasses import asdict

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

NOW = 1_800_000_000.0
DAY = 86400.0
SIV, GCM = "AES-SIV-CMAC-256", "AES-128-GCM-SIV"


def address(where, state="UP", cause="", **more):
    up = state.startswith("UP")
    told = {
        "address": where,
        "port": 123,
        "state": state,
        "up": up,
        "cause": cause,
        "kind": cause.partition(" (")[0],
        "aeads": (CheckView(SIV, "UP" if up else "DOWN", cause),),
        "offset": 0.000123 if up else None,
        "delay": 0.0214 if up else None,
        "root_distance": 0.0032 if up else None,
        "stratum": 1 if up else None,
        "checked": NOW - 9,
        "answered": NOW - 9 if up else NOW - 3 * DAY,
        "probes": 54321,
        "failures": 7 if cause else 0,
        "failures_by_cause": {"no answer": 2, cause.partition(" (")[0]: 5} if cause else {},
        "keys": None,
    }
    return AddressView(**{**told, **more})


def backend(name, addresses, state="UP", admin="ready", **more):
    told = {
        "name": name,
        "state": state,
        "admin": admin,
        "cause": "",
        "since": NOW - 3 * DAY,
        "weight": 10,
        "effective_weight": 10.0,
        "cookies": "chrony",
        "key_group": name,
        "regions": (),
        "addresses": tuple(addresses),
        "sessions": 25000,
        "share": 0.25,
        "fair_share": 0.5 if state == "UP" else 0.0,
        "minting": 10,
        "ke": "",
    }
    return BackendView(**{**told, **more})


def keys(**more):
    proved = {"8": NOW - 10 * DAY, "10": NOW - 3 * DAY, "11": NOW - 30}
    told = {"state": "UP", "minting": 10, "proved": proved, "waits": None}
    late = {"state": "DOWN", "minting": None, "proved": {}, "waits": "it has not loaded epoch 9 or a newer one"}
    status = {
        "now": NOW,
        "rotated": NOW - 3 * DAY,
        "rotate": 7 * DAY,
        "life": DAY,
        "epochs": [
            {"epoch": 9, "created": NOW - 24 * DAY, "state": "previous", "sessions": 40000},
            {"epoch": 10, "created": NOW - 17 * DAY, "state": "current", "sessions": 60000},
            {"epoch": 11, "created": NOW - 10 * DAY, "state": "next", "sessions": 0},
            {"epoch": 12, "created": NOW - 3 * DAY, "state": "future", "sessions": 0},
        ],
        "ended": [],
        "backends": [
            {"backend": "ntp-1", "address": "192.0.2.1", **told},
            {"backend": "ntp-1", "address": "2001:db8::1", **told},
            {"backend": "ntp-2", "address": "192.0.2.2", **late},
            {"backend": "amsterdam-3.ntp.example.net", "address": "192.0.2.3", **told},
        ],
        "agents": [
            {"backend": "ntp-1", "seen": NOW - 5, "reported": NOW - 3 * DAY, "proved": [9, 10, 11], "failure": None},
            {"backend": "ntp-2", "seen": NOW - 600, "reported": NOW - 700, "proved": [9], "failure": "key 10: NTS NAK"},
        ],
    }
    return {**status, **more}


def gateway(**more):
    """Return a GatewayView as JSON would show it."""
    troubled = (
        backend("ntp-1", [address("192.0.2.1"), address("2001:db8::1", "DOWN", "no answer", aeads=())]),
        backend(
            "ntp-2",
            [address("192.0.2.2", "DOWN", "NTS NAK", keys="keys behind (epoch 9)")],
            "DOWN",
            cause="NTS NAK",
            since=NOW - 720,
            minting=None,
        ),
        backend("amsterdam-3.ntp.example.net", [address("192.0.2.3", port=11123)], "DRAIN", "drain", sessions=1234567),
        backend(
            "ntp-4",
            [address("192.0.2.4", "MAINT", checked=None, answered=None, probes=0, aeads=())],
            "MAINT",
            "maint",
            sessions=0,
            share=0.0,
        ),
        backend(
            "ntp-5",
            [address("192.0.2.5", aeads=(CheckView(SIV, "UP", ""), CheckView(GCM, "DOWN", "bad authenticator")))],
            effective_weight=2.5,
            regions=("de", "europe"),
        ),
        backend("ntp-6", [address("192.0.2.6", "UP 2/3", "no answer", offset=-0.012)]),
        backend("ntp-7", [address("192.0.2.7")], effective_weight=20.0, fair_share=1 / 3),
    )
    told = {
        "version": "0.6.0",
        "now": NOW,
        "started": NOW - 3 * DAY - 5,
        "revision": 42,
        "ready": True,
        "names": ("ntp-pool.example.com", "ntp-pool.example.net"),
        "listen": ("0.0.0.0:4460", "[::]:4460"),
        "workers": WorkersView(4, (101, 102, 103), 1, 4),
        "backends": troubled,
        "sessions": SessionsView(
            outcomes={"ok": 99000, "refused": 10, "tls failed": 900, "closed by client": 90, "timeout": 0},
            reasons={"no application protocol": 900, "unknown critical record N": 10, "no AEAD in common": 90},
            turned_away={"denied": 0, "address rate": 1200, "overload": 34},
            aeads={SIV: 90000, GCM: 9000},
            duration=HistogramView((0.001, 0.01, 0.1, 1.0), (10, 60000, 98000, 99500), 100000, 1234.0),
            handshake=HistogramView((0.001, 0.01, 0.1, 1.0), (20, 80000, 98000, 99000), 99000, 617.0),
            rate=12.34,
            open=7,
        ),
        "certificates": (
            CertificateView(("ntp-pool.example.com", "ntp-pool.example.net"), NOW + 61.5 * DAY),
            CertificateView(("ntp-1.example.com",), NOW + 6.5 * DAY),
        ),
        "panicking": (),
        "vote": "majority",
        "keys": keys(),
    }
    return listed(asdict(GatewayView(**{**told, **more})))


def well():
    """Return the view of a small gateway with which nothing is wrong, and to which nothing has happened."""
    quiet = SessionsView(
        {"ok": 0},
        {},
        {"denied": 0},
        {},
        HistogramView((0.1,), (0,), 0, 0.0),
        HistogramView((0.1,), (0,), 0, 0.0),
        0.0,
        0,
    )
    known = keys(rotate=None, agents=[], backends=[])
    return gateway(
        backends=(backend("ntp-1", [address("192.0.2.1")], sessions=0, share=0.0, fair_share=1.0),),
        sessions=quiet,
        workers=WorkersView(1, (101,), 0, 0),
        certificates=(CertificateView(("ntp-pool.example.com",), NOW + 61.5 * DAY),),
        keys=known,
    )


def events():
    """Return some events as JSON would show them."""
    told = (
        EventView(1, NOW - 3 * DAY, "started", "info", "", "", "", "0.6.0"),
        EventView(2, NOW - 7200, "keys rotated", "info", "keys", "", "9", "10"),
        EventView(3, NOW - 720, "backend DOWN", "warning", "ntp-2", "NTS NAK", "UP", "DOWN"),
        EventView(4, NOW - 60, "backend DRAIN", "info", "amsterdam-3.ntp.example.net", "", "UP", "DRAIN"),
    )
    return listed([asdict(each) for each in told])


def probed(*, good=True):
    """Return what the probe of a backend with two addresses found, and with a third that there is no way to."""
    refused = {"aead": GCM, "good": False, "cause": "bad authenticator", "cookies": 0}
    return [
        {
            "address": "192.0.2.5",
            "port": 123,
            "sent": True,
            "good": True,
            "aeads": [{"aead": SIV, "good": True, "cause": "", "cookies": 1}],
            "epochs": [
                {"epoch": 10, "accepted": True, "mints": 10},
                {"epoch": 11, "accepted": True, "mints": None},
            ],
            "offset": 0.000123,
            "delay": 0.0214,
            "root_distance": 0.0032,
            "stratum": 1,
        },
        *(
            []
            if good
            else [
                {
                    "address": "192.0.2.6",
                    "port": 11123,
                    "sent": True,
                    "good": False,
                    "aeads": [refused],
                    "epochs": [{"epoch": 10, "accepted": False, "mints": None}],
                    "offset": None,
                    "delay": None,
                    "root_distance": None,
                    "stratum": None,
                }
            ]
        ),
        {
            "address": "2001:db8::5",
            "port": 123,
            "sent": False,
            "good": False,
            "aeads": [],
            "epochs": [],
            "offset": None,
            "delay": None,
            "root_distance": None,
            "stratum": None,
        },
    ]


def listed(value):
    """Return `value` with lists in place of tuples, as JSON has them."""
    if isinstance(value, dict):
        return {key: listed(each) for key, each in value.items()}
    return [listed(each) for each in value] if isinstance(value, list | tuple) else value


def documented():
    """Return the gateway of docs/commands.md: three backends, of which one has lost its keys."""
    certificate = CertificateView(("ntp-pool.example.com",), NOW + 61.5 * DAY)
    good = {"sessions": 81244, "share": 0.4995, "fair_share": 0.5}
    backends = (
        backend("ntp-1", [address("192.0.2.1"), address("2001:db8::1", offset=0.000098, delay=0.0198)], **good),
        backend(
            "ntp-2",
            [address("192.0.2.2", "DOWN", "NTS NAK", keys="NTS NAK")],
            "DOWN",
            cause="NTS NAK",
            since=NOW - 720,
            sessions=40211,
            share=0.2472,
            minting=None,
        ),
        backend(
            "ntp-3",
            [address("192.0.2.3", offset=-0.000211, delay=0.0043)],
            effective_weight=5.0,
            sessions=41195,
            share=0.2533,
            fair_share=0.3333,
            cookies="ntpsec",
            regions=("de",),
        ),
    )
    sessions = SessionsView(
        outcomes={"ok": 162650, "tls failed": 812, "closed by client": 95, "refused": 3, "timeout": 12},
        reasons={"no application protocol": 640, "unknown ca": 172, "no common AEAD": 3},
        turned_away={"address rate": 407, "overload": 0},
        aeads={SIV: 121988, GCM: 40662},
        duration=HistogramView(
            (0.001, 0.0025, 0.005, 0.01, 0.1, 1.0), (310, 98420, 158711, 160960, 163402, 163560), 163572, 523.4
        ),
        handshake=HistogramView(
            (0.001, 0.0025, 0.005, 0.01, 0.1, 1.0), (410, 99420, 159711, 161960, 162702, 162760), 162760, 401.8
        ),
        rate=3.2,
        open=1,
    )
    proved = {"10": NOW - 3 * DAY, "11": NOW - 2 * DAY}
    told = [
        {"backend": name, "address": where, "state": "UP", "minting": 10, "proved": proved, "waits": None}
        for name, where in (
            ("ntp-1", "192.0.2.1"),
            ("ntp-1", "2001:db8::1"),
            ("ntp-2", "192.0.2.2"),
            ("ntp-3", "192.0.2.3"),
        )
    ]
    known = {"seen": NOW - 5, "reported": NOW - 3 * DAY, "proved": [9, 10, 11], "failure": None}
    failing = {
        "seen": NOW - 8,
        "reported": NOW - 700,
        "proved": [],
        "failure": "chronyd has not answered `chronyc rekey`",
    }
    status = keys(
        backends=told,
        agents=[{"backend": "ntp-1", **known}, {"backend": "ntp-2", **failing}],
    )
    return gateway(
        backends=backends,
        sessions=sessions,
        keys=status,
        workers=WorkersView(4, (101, 102, 103, 104), 0, 4),
        certificates=(certificate,),
        names=("ntp-pool.example.com",),
    )


def documented_events():
    """Return what has happened to that gateway."""
    told = (
        EventView(41, NOW - 3 * DAY, "keys rotated", "info", "epoch 10", "", "", ""),
        EventView(42, NOW - 3600, "admin state", "info", "ntp-3", "the admin API", "ready", "ready, weight 5"),
        EventView(43, NOW - 720, "backend DOWN", "warning", "ntp-2 192.0.2.2", "NTS NAK", "UP", "DOWN"),
    )
    return listed([asdict(each) for each in told])
