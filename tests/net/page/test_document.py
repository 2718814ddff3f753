"""The page: sound HTML whatever the gateway says of itself, and nothing of that unescaped."""

import re
from dataclasses import replace
from importlib import resources
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntspool.net.page import document
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
from tests.net.gatewayviews import NOW, cluster, peer
from tests.net.page import views
from tests.net.page.reading import read

figures = st.floats(-1e9, 1e9)
times = st.one_of(st.floats(0, 4e9), st.floats(allow_nan=False, allow_infinity=False))
words = st.text(st.sampled_from("<>&\"'/ =abc\n\x00é\u2013"), max_size=12) | st.text(max_size=5)
states = st.sampled_from(["UP", "DOWN", "DRAIN", "MAINT", "UP 2/3", "DOWN 1/2"]) | words
counts = st.integers(0, 10**12)
counted = st.dictionaries(words, counts, max_size=3)
maybe = st.none() | figures
checks = st.builds(CheckView, words, states, words)
addresses = st.builds(
    AddressView,
    address=words,
    state=states,
    cause=words,
    kind=words,
    aeads=st.lists(checks, max_size=2).map(tuple),
    offset=maybe,
    delay=maybe,
    root_distance=maybe,
    checked=st.none() | times,
    answered=st.none() | times,
    failures_by_cause=counted,
    keys=st.none() | words,
)
backends = st.builds(
    BackendView,
    name=words,
    state=states,
    admin=words,
    cause=words,
    since=times,
    effective_weight=figures,
    cookies=words,
    regions=st.lists(words, max_size=2).map(tuple),
    addresses=st.lists(addresses, max_size=3).map(tuple),
    share=figures,
    fair_share=figures,
)
known = st.fixed_dictionaries(
    {
        "rotated": times | words,
        "rotate": st.none() | figures,
        "epochs": st.lists(
            st.fixed_dictionaries({"epoch": counts, "created": times, "state": words, "sessions": counts}), max_size=6
        ),
        "backends": st.lists(
            st.fixed_dictionaries(
                {
                    "backend": words,
                    "address": words,
                    "minting": st.none() | counts,
                    "proved": st.dictionaries(st.integers(0, 9).map(str), times, max_size=3),
                    "waits": st.none() | words,
                }
            ),
            max_size=3,
        ),
    }
)
keys = known | st.dictionaries(st.sampled_from(["epochs", "backends", "rotated"]), words | st.lists(words) | st.none())
histograms = st.builds(
    HistogramView, st.lists(figures, max_size=3).map(tuple), st.lists(counts, max_size=3).map(tuple), counts, figures
)
gateways = st.builds(
    GatewayView,
    version=words,
    now=st.floats(0, 4e9),
    started=times,
    names=st.lists(words, max_size=2).map(tuple),
    listen=st.lists(words | st.just("[::]:11460"), max_size=2).map(tuple),
    workers=st.builds(WorkersView),
    backends=st.lists(backends, max_size=3).map(tuple),
    sessions=st.builds(
        SessionsView,
        outcomes=counted,
        reasons=counted,
        turned_away=counted,
        aeads=counted,
        duration=histograms,
        rate=st.floats(0, 1e6),
    ),
    certificates=st.lists(st.builds(CertificateView, st.lists(words, max_size=2).map(tuple), times), max_size=2).map(
        tuple
    ),
    panicking=st.lists(words, max_size=2).map(tuple),
    keys=keys,
)
happenings = st.lists(
    st.builds(EventView, time=times, event=words, level=words, subject=words, cause=words), max_size=4
)


@settings(max_examples=60)
@given(gateways, happenings)
def test_whatever_the_gateway_says_the_page_is_well_formed_and_holds_it_as_text(view, events):
    history = History()
    history.observe(replace(view, now=view.now - 100))
    history.observe(view)
    page = read(document.page(view, events, history))
    assert page.mistakes == []
    text = "".join(page.text)
    for each in view.backends:
        for said in (each.name, each.cause, *(one.address for one in each.addresses)):
            assert said in text
    for each in events[: document.EVENTS]:
        assert each.subject in text
    assert read(f"<main>{document.fragment(view, events, history)}</main>").mistakes == []


PAGES = {
    "well": views.gateway(),
    "troubled": views.troubled(),
    "empty": views.gateway([], certificates=(), keys={}, names=(), ready=False),
}


@pytest.fixture(params=PAGES, ids=str)
def page(request):
    view = PAGES[request.param]
    return read(document.page(view, views.events(), views.history(view, 30)))


def test_headings_stand_in_order_and_there_is_one_title(page):
    levels = [int(tag[1]) for tag, *_ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_tables_have_captions_and_their_heads_a_scope(page):
    tags = [tag for tag, *_ in page.elements]
    assert tags.count("caption") == tags.count("table")
    assert all("scope" in attributes for tag, attributes, _ in page.elements if tag == "th")


def test_pictures_have_a_text_or_are_hidden_from_who_cannot_see_them(page):
    for tag, attributes, _ in page.elements:
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or (attributes["role"], bool(attributes["aria-label"])) == (
                "img",
                True,
            )


def test_ids_stand_once_and_what_refers_to_them_finds_them(page):
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes, _ in page.elements:
        if tag in {"a", "use"}:
            assert attributes["href"].removeprefix("#") in ids
        assert attributes.get("aria-labelledby", ids[0]) in ids


def test_nothing_comes_from_elsewhere_and_nothing_stands_in_line(page):
    for tag, attributes, _ in page.elements:
        assert "style" not in attributes
        assert tag != "script" or attributes["src"].startswith("static/")
        assert not attributes.get("href", "").startswith(("http:", "https:", "//"))


def test_a_backend_that_is_down_is_told_first_and_with_its_cause():
    text = "".join(read(document.page(views.troubled(), [], History())).text)
    assert "2 of 3 backends serve time" in text
    assert re.search(r"DOWN\s+ntp-2: no answer", text)
    assert text.index("ntp-2: no answer") < text.index("Sessions a second")


def test_the_page_says_when_nobody_is_served():
    down = [replace(each, state="DOWN", cause="no answer") for each in views.pool()]
    assert "No backend serves time" in document.page(views.gateway(down, ready=False), [], History())


def test_the_newest_events_come_first_and_old_ones_not_at_all():
    told = [EventView(number, views.NOW, f"happening {number}", "info", "", "", "", "") for number in range(100)]
    text = " ".join(read(document.page(views.gateway(), told, History())).text)
    assert re.findall("happening [0-9]+", text) == [f"happening {number}" for number in range(99, 74, -1)]


@pytest.mark.parametrize(
    ("listen", "lines"),
    [
        (("0.0.0.0:4460",), ["server ntp-pool.example.com iburst nts", "server ntp-pool.example.com nts iburst"]),
        (
            ("0.0.0.0:11460",),
            ["server ntp-pool.example.com iburst nts ntsport 11460", "server ntp-pool.example.com:11460 nts iburst"],
        ),
    ],
)
def test_clients_are_told_the_port_that_is_served(listen, lines):
    text = "".join(read(document.page(views.gateway(listen=listen), [], History())).text).splitlines()
    for line in lines:
        assert any(line in each for each in text)


def _luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(first, second):
    """Return the contrast ratio of WCAG 2.2."""
    high, low = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _themes():
    css = resources.files("ntspool.net.page").joinpath("static", "page.css").read_text()
    return [
        dict(re.findall(r"--(\w+): (#[0-9a-f]{3,8});", block))
        for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    ]


def _whole(colour):
    return colour if len(colour) != 4 else "#" + "".join(letter * 2 for letter in colour[1:])


def test_every_colour_can_be_read_on_every_ground_dark_light_and_on_paper():
    themes = _themes()
    assert len(themes) == 3
    for theme in themes:
        for ground in ("ground", "raised", "sunk"):
            for ink in ("ink", "quiet", "line", "up", "down", "warn", "drain", "maint"):
                assert _contrast(_whole(theme[ink]), _whole(theme[ground])) >= 4.5, (ink, ground, theme)


# Many gateways.


def test_the_gateways_of_a_cluster_are_shown_with_their_states():
    peers = (
        peer(),
        peer("south", ready=False, withdrawn="5 of 5 backends are missed"),
        peer("west", alive=False, ready=False, told=NOW - 600),
        peer("east", alive=False, ready=False, stopped=True),
    )
    view = replace(views.gateway([]), now=NOW, cluster=cluster(gateways=peers, away="<nobody>"))
    shown = read(document.page(view, [], History()))
    assert shown.mistakes == []
    text = " ".join(shown.text)
    for words in (
        "this one, leads",
        "wants no clients: 5 of 5 backends are missed",
        "lost",
        "stopped",
        "10\N{NO-BREAK SPACE}min ago",
    ):
        assert words in text, text
    assert "their store does not answer" in text
    assert "<nobody>" not in text


def test_a_gateway_alone_shows_none():
    assert 'id="gateways"' not in document.page(views.gateway([]), [], History())
