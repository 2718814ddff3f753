"""What the commands that show a gateway print, to the letter: text, CSV and JSON against the files of golden/."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.app import tables_backends, tables_events, tables_probe, tables_sessions, tables_status
from ntspool.app.colours import paint, shown, wanted
from ntspool.app.problems import problems
from ntspool.app.tables import keys_rows, span, table
from ntspool.app.tables_backends import backend_page, backends_rows, backends_table
from tests.app import views
from tests.app.scripted import command, scripted
from tests.app.views import DAY, NOW

PUBLISHING = {
    "server": "192.0.2.53 port 53",
    "names": ["ntp-pool.example.com"],
    "shown": True,
    "checked": NOW - 12,
    "trouble": "",
    "since": None,
    "stuck": [],
    "updates": {"done": 1, "overtaken": 0, "failed": 0},
}
GOLDEN = Path(__file__).with_name("golden")
COMMANDS = {
    "status": ("status",),
    "backends": ("backends",),
    "backends-numeric": ("backends", "-n"),
    "backend-show": ("backend", "show", "ntp-1"),
    "backend-show-aeads": ("backend", "show", "ntp-5"),
    "sessions": ("sessions",),
    "agents": ("agents",),
    "events": ("events",),
    "probe": ("probe", "ntp-5"),
    "keys": ("keys", "status"),
}


@pytest.fixture
def gateway(tmp_path):
    answers = {
        ("GET", "/v1/status"): views.gateway(),
        ("GET", "/v1/keys"): views.keys(),
        ("GET", "/v1/events?after=0"): views.events(),
        ("POST", "/v1/backends/ntp-5/probe"): views.probed(good=False),
    }
    with scripted(tmp_path / "admin.sock", answers) as script:
        yield script


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("form", ["text", "csv"])
def test_what_a_command_prints(gateway, name, form):
    ended = command(*COMMANDS[name], "--socket", gateway.socket, *(["--csv"] if form == "csv" else []))
    assert (ended.code, ended.err) == (1 if name == "probe" else 0, "")
    assert ended.out == (GOLDEN / f"{name}.{'txt' if form == 'text' else 'csv'}").read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_json_is_what_the_gateway_said(gateway, name):
    ended = command(*COMMANDS[name], "--socket", gateway.socket, "--json")
    view = views.gateway()
    shares = [{key: each[key] for key in ("name", "sessions", "share", "fair_share")} for each in view["backends"]]
    assert (
        json.loads(ended.out)
        == {
            "status": view,
            "backends": view["backends"],
            "backends-numeric": view["backends"],
            "backend-show": view["backends"][0],
            "backend-show-aeads": view["backends"][4],
            "sessions": {**view["sessions"], "backends": shares},
            "agents": views.keys()["agents"],
            "events": views.events(),
            "probe": views.probed(good=False),
            "keys": views.keys(),
        }[name]
    )


def test_nothing_wrong_is_nothing_shown():
    view = views.well()
    assert problems(view) == []
    assert tables_status.status_page(view, []) == (GOLDEN / "status-well.txt").read_text()
    assert tables_sessions.sessions_page(view) == (GOLDEN / "sessions-well.txt").read_text()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"ready": False}, "NOT ready: no client can be served"),
        ({"panicking": ["IPv6"]}, "PANIC for IPv6: too many backends fell silent at once"),
        ({"vote": "no majority"}, "the backends' clocks disagree, and no majority tells who is right"),
        ({"keys": views.keys(rotated=NOW - 10 * DAY)}, "a key rotation is due since 3d and waits"),
        (
            {"certificates": [{"names": ["a.example", "b.example"], "not_after": NOW - 3 * DAY}]},
            "the certificate for a.example, b.example expired 3d ago",
        ),
        ({"workers": {"wanted": 2, "pids": [7], "deaths": 0, "replaced": 0}}, "1 of 2 workers run"),
        (
            {"publishing": {**PUBLISHING, "trouble": "Connection refused", "since": NOW - 300}},
            "no DNS records can be published at 192.0.2.53 port 53 for 5m: Connection refused",
        ),
        (
            {"publishing": {**PUBLISHING, "stuck": ["ntp-pool.example.com"]}},
            "a DNS record of ntp-pool.example.com should be gone, and stays because it is the last",
        ),
    ],
)
def test_each_problem_is_told(more, told):
    view = {**views.well(), **more}
    assert problems(view) == [told]
    assert f"Problem         : {told}\n" in tables_status.status_page(view, [])


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, "ntp-pool.example.com leads here, seen 12s ago at 192.0.2.53 port 53"),
        ({"shown": False}, "ntp-pool.example.com does NOT lead here, seen 12s ago at 192.0.2.53 port 53"),
        ({"checked": None}, "ntp-pool.example.com: not published yet at 192.0.2.53 port 53"),
    ],
)
def test_where_the_dns_leads_is_told(more, told):
    page = tables_status.status_page({**views.well(), "publishing": {**PUBLISHING, **more}}, [])
    assert f"DNS             : {told}\n" in page


def test_what_an_operator_has_taken_out_is_no_problem():
    away = views.backend("ntp-9", [views.address("192.0.2.9", "DOWN", "no answer")], "MAINT", "maint")
    assert problems({**views.well(), "backends": views.listed([views.asdict(away)])}) == []


def test_a_hundred_problems_leave_room_for_the_rest():
    down = [views.backend(f"ntp-{n}", [views.address("192.0.2.9", "DOWN", "no answer")], "DOWN") for n in range(100)]
    page = tables_status.status_page({**views.well(), "backends": [views.asdict(each) for each in down]}, [])
    assert page.count("Problem ") == 11
    assert "Problem         : and 90 more, see `ntspool backends`\n" in page


def test_a_backend_without_an_address_yet_is_shown():
    unresolved = views.backend("ntp-9", [], "DOWN", cause="not resolved", sessions=0)
    view = {**views.well(), "backends": views.listed([views.asdict(unresolved)])}
    assert backends_table(view, numeric=False).splitlines()[2].split()[:3] == ["ntp-9", "DOWN", "-"]
    assert backends_table(view, numeric=False).splitlines()[2].endswith("not resolved")
    assert backend_page(view["backends"][0], NOW).startswith("Name            : ntp-9\nState           : DOWN for 3d\n")
    head, (row,) = backends_rows(view["backends"])
    assert dict(zip(head, row, strict=True))["address"] is None


def test_a_table_is_as_wide_as_the_longest_name():
    name = "a" * 63 + ".example"
    view = {**views.well(), "backends": [views.asdict(views.backend(name, [views.address("192.0.2.1")]))]}
    head, rule, row = backends_table(view, numeric=False).splitlines()
    assert row.startswith(f"{name}  UP     v4")
    assert head.index("State") == row.index("UP")
    assert len(rule) == len(head)


def test_what_was_measured_before_an_address_fell_silent_is_not_shown():
    silent = views.address("192.0.2.1", "DOWN", "no answer", offset=0.001, delay=0.02, stratum=2)
    liar = views.address("192.0.2.2", "DOWN", "offset vote (+3.000 s)", offset=3.0, delay=0.02, stratum=2)
    view = {**views.well(), "backends": [views.asdict(views.backend("ntp-1", [silent, liar], "DOWN"))]}
    first, second = backends_table(view, numeric=True).splitlines()[2:]
    assert first.split()[5:8] == ["-", "-", "-"]
    assert second.split()[3:6] == ["+3000ms", "20ms", "2"]


def test_who_answers_but_has_not_the_keys_is_down():
    answering = views.address("192.0.2.1", keys="keys behind (no epoch proved)")
    down = views.asdict(views.backend("ntp-1", [answering], "DOWN", cause=answering.keys, minting=None))
    view = {**views.well(), "backends": [down]}
    row = backends_table(view, numeric=False).splitlines()[2]
    assert row.split()[:2] == ["ntp-1", "DOWN"]
    assert row.endswith("  -  keys behind (no epoch proved)")
    assert tables_backends.sentence(down) == "ntp-1: DOWN, weight 10\n"
    assert problems(view) == ["ntp-1 DOWN for 3d: keys behind (no epoch proved)"]


CELLS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)


@given(
    st.integers(1, 5).flatmap(lambda width: st.lists(st.tuples(*[CELLS] * width), min_size=1, max_size=5)), st.data()
)
def test_columns_hold_whatever_is_in_them(rows, data):
    right = data.draw(st.sets(st.integers(0, len(rows[0]) - 1)))
    head, rule, *told = table(rows[0], rows[1:], right).splitlines()
    assert set(rule) == {"="}
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    assert len(rule) == sum(widths) + 2 * (len(widths) - 1)
    for line, row in zip([head, *told], rows, strict=True):
        start = 0
        for column, width in enumerate(widths):
            cell = line.ljust(len(rule))[start : start + width]
            assert cell == (row[column].rjust(width) if column in right else row[column].ljust(width))
            start += width + 2


def test_numbers_in_csv_are_in_base_units():
    rows = list(csv.DictReader(io.StringIO((GOLDEN / "backends.csv").read_text())))
    assert [row["name"] for row in rows[:3]] == ["ntp-1", "ntp-1", "ntp-2"]
    assert (rows[0]["offset"], rows[0]["delay"], rows[0]["checked"]) == ("0.000123", "0.0214", str(NOW - 9))
    assert (rows[0]["up"], rows[1]["up"], rows[1]["offset"]) == ("true", "false", "")


@pytest.mark.parametrize(
    ("head", "rows"),
    [
        tables_status.status_rows(views.gateway()),
        backends_rows(views.gateway()["backends"]),
        tables_sessions.sessions_rows(views.gateway()),
        tables_sessions.agents_rows(views.keys()),
        tables_probe.probe_rows(views.probed()),
        keys_rows(views.keys()),
        (tables_events.CSV_HEAD, [tables_events.event_row(each) for each in views.events()]),
    ],
)
def test_every_row_has_every_column(head, rows):
    assert rows
    assert {len(row) for row in rows} == {len(head)}
    assert len(set(head)) == len(head)


@pytest.mark.parametrize(
    ("found", "good"),
    [(views.probed(), True), (views.probed(good=False), False), (views.probed()[1:], False), ([], False)],
)
def test_a_probe_went_well_if_all_that_could_be_probed_was_good(found, good):
    assert tables_probe.went_well(found) is good


@pytest.mark.parametrize(
    ("seconds", "signed", "spelt"),
    [
        (None, True, "-"),
        (0.0, True, "+0ns"),
        (0.000000123, False, "123ns"),
        (-0.00001, True, "-10us"),
        (0.0099994, False, "9999us"),
        (0.0099996, False, "10ms"),
        (-1.5, True, "-1500ms"),
        (12.3, True, "+12s"),
    ],
)
def test_a_span_is_spelt_as_chronyc_does(seconds, signed, spelt):
    assert span(seconds, signed=signed) == spelt


def test_colours_repeat_what_words_say():
    assert paint("ntp-1  UP  UP 2/3  DOWN 1/2  DRAIN") == (
        "ntp-1  \x1b[32mUP\x1b[0m  \x1b[33mUP 2/3\x1b[0m  \x1b[31mDOWN 1/2\x1b[0m  \x1b[33mDRAIN\x1b[0m"
    )
    assert paint("UPS-1.DOWN SETUP NOTED") == "UPS-1.DOWN SETUP NOTED"


def test_what_others_have_chosen_commands_no_terminal():
    assert shown("UP \x1b[2J\u202e\r\n\u00e9 \x9b", io.StringIO()) == "UP ?[2J??\n\u00e9 ?"


def test_colours_are_for_terminals(monkeypatch):
    terminal, file = io.StringIO(), io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert wanted(terminal)
    assert not wanted(file)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wanted(terminal)
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not wanted(terminal)
