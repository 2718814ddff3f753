"""Made-up views of a gateway, well and in every trouble; and a strategy for any view at all."""

from dataclasses import fields, replace

from hypothesis import strategies as st

from ntspool.pool.view import (
    AddressView,
    BackendView,
    CertificateView,
    CheckView,
    ClusterView,
    GatewayView,
    HistogramView,
    PeerView,
    PublishingView,
    SessionsView,
    UpstreamsView,
    UpstreamView,
    WorkersView,
)

NOW = 1_800_000_000.0
WEEK = 7 * 86400.0


def address(text="192.0.2.1", **changes):
    """Return an address that is UP."""
    well = AddressView(
        address=text,
        port=123,
        state="UP",
        up=True,
        cause="",
        kind="",
        aeads=(CheckView("AES-SIV-CMAC-256", "UP", ""), CheckView("AES-128-GCM-SIV", "DOWN", "NTS NAK")),
        offset=0.0001,
        delay=0.002,
        root_distance=0.01,
        stratum=2,
        checked=NOW - 3,
        answered=NOW - 3,
        probes=1000,
        failures=5,
        failures_by_cause={"no answer": 3, "NTS NAK": 2},
        keys=None,
    )
    return replace(well, **changes)


def backend(name="ntp-1", **changes):
    """Return a backend that is UP, with one address of each family."""
    well = BackendView(
        name=name,
        state="UP",
        admin="ready",
        cause="",
        since=NOW - 3600,
        weight=10,
        effective_weight=10.0,
        cookies="chrony",
        key_group=name,
        regions=("de",),
        addresses=(address(), address("2001:db8::1", offset=None, stratum=None, checked=None)),
        sessions=400,
        share=0.5,
        fair_share=0.5,
        minting=7,
    )
    return replace(well, **changes)


def keys(*names, **changes):
    """Return what `ntspool keys status` would tell of backends that have proved everything."""
    states = {5: "previous", 6: "previous", 7: "current", 8: "next", 9: "future", 10: "future"}
    return {
        "now": NOW,
        "rotated": NOW - 86400,
        "rotate": WEEK,
        "life": 86400.0,
        "epochs": [
            {"epoch": number, "created": NOW - (9 - number) * WEEK, "state": state, "sessions": 11 * number}
            for number, state in states.items()
        ],
        "ended": [{"epoch": 4, "ended": NOW - WEEK, "state": "retired"}],
        "backends": [
            {
                "backend": name,
                "address": "192.0.2.1",
                "state": "UP",
                "minting": 7,
                "proved": {"7": NOW - 86400, "8": NOW - 86000},
                "waits": None,
            }
            for name in names
        ],
        "agents": [
            {"backend": name, "seen": NOW - 10, "reported": NOW - 86400, "proved": [7, 8], "failure": None}
            for name in names
        ],
        **changes,
    }


def peer(name="north", **changes):
    """Return a gateway of a cluster that is well."""
    well = PeerView(
        name=name,
        alive=True,
        ready=True,
        withdrawn="",
        stopped=False,
        leads=name == "north",
        told=NOW - 1,
        started=NOW - 3600,
        version="1.2.3",
        epoch=7,
        agrees=True,
        addresses=("192.0.2.101",),
        weight=10,
    )
    return replace(well, **changes)


def cluster(**changes):
    """Return a cluster of three of which one is lost, and that disputes about two backends."""
    told = ClusterView(
        name="north",
        away=None,
        since=NOW - 3600,
        leader="north",
        gateways=(peer(), peer("south"), peer("west", alive=False, ready=False, agrees=False, told=NOW - 600)),
        outvoted={"ntp-2": "does not answer 2 of 3 gateways: south, west"},
        unreachable={"ntp-1": "answers 2 of 3 gateways, but here: no answer"},
        withdrawn="",
        calls={"get ok": 3, "put away": 1},
        seconds={"get": 0.25, "put": 5.0},
    )
    return replace(told, **changes)


def gateway(**changes):
    """Return a gateway that is well, with two backends."""
    well = GatewayView(
        version="1.2.3",
        now=NOW,
        started=NOW - 86400,
        revision=12,
        ready=True,
        names=("pool.example.com",),
        listen=("[::]:4460",),
        workers=WorkersView(wanted=2, pids=(101, 102), deaths=1, replaced=4),
        backends=(backend(), backend("ntp-2", sessions=430, state="DRAIN")),
        sessions=SessionsView(
            outcomes={"ok": 830, "refused": 3, "tls failed": 7},
            reasons={"no backend": 3, "no common ALPN": 7},
            turned_away={"denied": 2, "overload": 9},
            aeads={"AES-SIV-CMAC-256": 800, "AES-128-GCM-SIV": 30},
            duration=HistogramView((0.005, 0.05, 1.0), (500, 830, 838), 840, 12.5),
            handshake=HistogramView((0.005, 0.05, 1.0), (600, 830, 838), 838, 7.25),
            rate=3.0,
            open=5,
        ),
        certificates=(
            CertificateView(("pool.example.com", "*.pool.example.com"), NOW + 60 * 86400),
            CertificateView(("pool.example.com",), NOW + 30 * 86400),
        ),
        panicking=(),
        vote="majority",
        keys=keys("ntp-1", "ntp-2"),
        cluster=cluster(),
        publishing=PublishingView(
            server="192.0.2.53 port 53",
            names=("pool.example.com",),
            shown=True,
            checked=NOW - 12,
            trouble="",
            since=None,
            stuck=(),
            updates={"done": 15, "overtaken": 1, "failed": 0},
        ),
        upstreams=UpstreamsView(
            (UpstreamView("ntp-2", connections=3, opened=40, answered=430, avoided=2, failures={"token refused": 1}),),
            waits=HistogramView((0.005, 0.05, 1.0), (425, 429, 430), 430, 1.5),
            answers=HistogramView((0.005, 0.05, 1.0), (100, 430, 430), 430, 4.25),
        ),
    )
    return replace(well, **changes)


# Surrogates cannot be encoded; YAML, from which names come, cannot hold them.
_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_counts = st.integers(0, 2**63)
_floats = st.floats()
_tallies = st.dictionaries(_texts, _counts, max_size=4)
_maybe = st.none() | _floats


@st.composite
def _histograms(draw):
    bounds = sorted(draw(st.sets(st.floats(1e-9, 1e9), max_size=5)))
    counts = sorted(draw(st.lists(_counts, min_size=len(bounds) + 1, max_size=len(bounds) + 1)))
    return HistogramView(tuple(bounds), tuple(counts[:-1]), counts[-1], draw(st.floats(0, 1e12)))


def _lists(strategy, key=None):
    return st.lists(strategy, max_size=3, unique_by=key).map(tuple)


_checks = st.builds(CheckView, _texts, st.sampled_from(["UP", "DOWN", "UP 2/3", "DOWN 1/2"]), _texts)
_addresses = st.builds(
    AddressView,
    address=_texts,
    port=st.integers(1, 65535),
    state=_texts,
    up=st.booleans(),
    cause=_texts,
    kind=_texts,
    aeads=_lists(_checks, lambda check: check.aead),
    offset=_maybe,
    delay=_maybe,
    root_distance=_maybe,
    stratum=st.none() | st.integers(0, 255),
    checked=_maybe,
    answered=_maybe,
    probes=_counts,
    failures=_counts,
    failures_by_cause=_tallies,
    keys=st.none() | _texts,
)
_backends = st.builds(
    BackendView,
    name=_texts,
    state=_texts,
    admin=_texts,
    cause=_texts,
    since=_floats,
    weight=_counts,
    effective_weight=_floats,
    cookies=_texts,
    key_group=_texts,
    regions=_lists(_texts),
    addresses=_lists(_addresses, lambda each: each.address),
    sessions=_counts,
    share=_floats,
    fair_share=_floats,
    minting=st.none() | _counts,
)
_upstreams = st.builds(
    UpstreamView,
    backend=_texts,
    connections=_counts,
    opened=_counts,
    answered=_counts,
    avoided=_counts,
    failures=_tallies,
)
_certificates = st.builds(CertificateView, names=_lists(_texts), not_after=_floats)


_publishings = st.builds(
    PublishingView,
    server=_texts,
    names=st.just(()),
    shown=st.booleans(),
    checked=_maybe,
    trouble=_texts,
    since=_maybe,
    stuck=st.just(()),
    updates=_tallies,
)


@st.composite
def any_gateway(draw):
    """Draw a view with any names, causes and figures, and keys for some of its backends and for a stranger."""
    backends = draw(_lists(_backends, lambda each: each.name))
    names = {each.name for each in backends} | {"stranger"}
    known = draw(st.lists(st.sampled_from(sorted(names)), unique=True))
    sessions = SessionsView(
        *(draw(_tallies) for _ in range(4)), draw(_histograms()), draw(_histograms()), draw(_floats), draw(_counts)
    )
    return gateway(
        version=draw(_texts),
        started=draw(_floats),
        revision=draw(_counts),
        ready=draw(st.booleans()),
        workers=WorkersView(draw(_counts), (1,) * draw(st.integers(0, 9)), draw(_counts), draw(_counts)),
        backends=backends,
        sessions=sessions,
        certificates=draw(_lists(_certificates)),
        panicking=draw(_lists(_texts)),
        vote=draw(_texts),
        keys=draw(st.sampled_from([{}, keys(), keys(*known), keys(*known, rotate=None)])),
        publishing=draw(st.none() | _publishings),
        upstreams=draw(
            st.none()
            | st.builds(UpstreamsView, _lists(_upstreams, lambda each: each.backend), _histograms(), _histograms())
        ),
    )


def _one_more(histogram):
    counts = tuple(count + 1 for count in histogram.counts)
    return replace(histogram, counts=counts, count=histogram.count + 1, sum=histogram.sum + 1)


def _upstreams_grown(view):
    return UpstreamsView(
        tuple(
            replace(
                each,
                opened=each.opened + 1,
                answered=each.answered + 1,
                avoided=each.avoided + 1,
                failures={cause: count + 1 for cause, count in each.failures.items()},
            )
            for each in view.backends
        ),
        _one_more(view.waits),
        _one_more(view.answers),
    )


def grown(view):
    """Return the view after every count has grown."""
    sessions = view.sessions
    tallies = {
        each.name: {name: count + 1 for name, count in getattr(sessions, each.name).items()}
        for each in fields(sessions)
        if each.name in {"outcomes", "reasons", "turned_away", "aeads"}
    }
    tallies |= {name: _one_more(getattr(sessions, name)) for name in ("duration", "handshake")}
    return replace(
        view,
        upstreams=view.upstreams and _upstreams_grown(view.upstreams),
        workers=replace(view.workers, deaths=view.workers.deaths + 1, replaced=view.workers.replaced + 1),
        sessions=replace(sessions, **tallies),
        backends=tuple(
            replace(
                each,
                sessions=each.sessions + 1,
                addresses=tuple(
                    replace(
                        one,
                        probes=one.probes + 1,
                        failures=one.failures + 1,
                        failures_by_cause={cause: count + 1 for cause, count in one.failures_by_cause.items()},
                    )
                    for one in each.addresses
                ),
            )
            for each in view.backends
        ),
    )
