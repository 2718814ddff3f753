"""`ntspool report`: text and CSV to the letter, the HTML page as a browser sees it, and all of it beside a gateway."""

import asyncio
import csv
import io
import os
import re
from pathlib import Path

import pytest

from ntspool.app.cli_report import _limit, _to
from ntspool.app.tables_report import _harmless
from ntspool.net.historyschema import ENTRY
from tests.app import histories
from tests.app.browser import chromium
from tests.app.pool import lay_out
from tests.app.scripted import command
from tests.app.test_status_page import serving
from tests.net.page.reading import read
from tests.waiting import until

GOLDEN = Path(__file__).with_name("golden")
MANUAL = Path(__file__).parents[2] / "docs" / "report.md"
PERIOD = ("--from", "2023-12-01", "--to", "2023-12-31")


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    path = tmp_path_factory.mktemp("exact") / ENTRY
    histories.write(path)
    return path


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    path = tmp_path_factory.mktemp("folded") / ENTRY
    histories.write(path, folded=True)
    return path


@pytest.mark.parametrize("kind", ["exact", "folded"])
def test_what_is_printed(request, kind):
    path = request.getfixturevalue(kind)
    text = command("report", "--history", path, *PERIOD)
    assert (text.code, text.err, text.out) == (0, "", (GOLDEN / f"report-{kind}.txt").read_text())
    rows = command("report", "--history", path, *PERIOD, "--csv", "-")
    assert (rows.code, rows.err, rows.out) == (0, "", (GOLDEN / f"report-{kind}.csv").read_text())


def test_the_manual_shows_what_is_printed(exact):
    (example,) = re.findall(r"^\$ ntspool (report .*)\n((?:(?!```).*\n)*)", MANUAL.read_text(), re.MULTILINE)
    words, shown = example
    assert command(*words.split(), "--history", exact).out == shown


def test_hours_come_to_the_same_as_their_probes(exact, folded):
    by_kind = []
    for path in (exact, folded):
        told = command("report", "--history", path, *PERIOD, "--csv", "-").out
        by_kind.append(list(csv.DictReader(io.StringIO(told))))
    for true, found in zip(*by_kind, strict=True):
        assert (true.pop("exact"), found.pop("exact")) == ("true", "false")
        for key, value in true.items():
            if re.search("median|p9", key):
                assert float(found[key]) == pytest.approx(float(value), rel=0.051, abs=2e-9)
            elif "within" in key:
                assert float(found[key]) == pytest.approx(float(value), abs=0.06)
            else:
                assert found[key] == value or float(found[key]) == pytest.approx(float(value), rel=1e-6)


def test_the_last_day_is_included_however_it_is_spelt():
    assert _to("2026-1-3") == _to("2026-01-03") == _to("2026-01-04T00:00")
    assert _to("9999-12-31") > _to("9999-12-30")


def test_a_server_puts_no_formula_into_a_spreadsheet():
    assert [_harmless(each) for each in ("=A1", "@B2", "GPS", "-")] == ["'=A1", "'@B2", "GPS", "-"]


def test_a_period_limits_and_backends_are_chosen(exact):
    rows = command(
        "report",
        "--history",
        exact,
        "--to",
        "2023-12-10T12:00",
        "--last",
        "24h",
        "--limit",
        "50us",
        "--limit",
        "20ms",
        "--csv",
        "-",
        "ntp-2",
        "ntp-1",
    )
    told = list(csv.DictReader(io.StringIO(rows.out)))
    assert [each["backend"] for each in told] == ["ntp-1", "ntp-1", "ntp-2"]
    assert {(float(each["end"]) - float(each["start"]), each["probes"]) for each in told} == {(86400, "96")}
    assert "within_50us" in told[0]
    assert "surely_within_20ms" in told[0]
    text = command("report", "--history", exact, *PERIOD, "ntp-1").out
    assert "epoch 13" in text
    assert "health.interval" in text
    assert "backend DOWN" not in text


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--from", "2023-12-02", "--to", "2023-12-01T00:00"), 2, "ends before it begins"),
        (("--from", "2023-12-02", "--last", "3d"), 2, "expected --from or --last, not both"),
        (("--from", "yesterday"), 2, "expected a date in UTC such as 2026-10-31"),
        (("--last", "3 days"), 2, "'3 days' is not a duration"),
        (("--last", "off"), 2, "expected a duration such as 30d"),
        (("--limit", "100"), 2, "expected a limit such as 100us or 1ms"),
        ((*PERIOD, "ntp-9"), 1, "nothing was ever recorded of ntp-9; there are amsterdam-3, ntp-1, ntp-2"),
        ((*PERIOD, "--html", "/nowhere/report.html"), 1, "/nowhere/report.html cannot be written: No such file"),
    ],
)
def test_what_is_refused(exact, words, code, said):
    ended = command("report", "--history", exact, *words)
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err


def test_without_a_history_it_says_so(tmp_path):
    ended = command("report", "--history", tmp_path / "none.db")
    assert ended.code == 1
    assert ended.err.startswith(f"ntspool: there is no history at {tmp_path}/none.db; a gateway writes it")


def test_a_time_without_records_is_told_as_such(exact):
    ended = command("report", "--history", exact, "--from", "2020-01-01", "--to", "2020-01-02")
    assert ended.code == 0
    assert ended.out.endswith("Nothing was recorded in this time.\n")


@pytest.mark.parametrize(("text", "seconds"), [("100us", 1e-4), ("1ms", 1e-3), ("2.5s", 2.5), ("50ns", 5e-8)])
def test_limits_have_units(text, seconds):
    assert _limit(text) == pytest.approx(seconds)


def test_the_page_is_whole_and_asks_nobody_for_anything(folded, tmp_path):
    page = tmp_path / "report.html"
    ended = command("report", "--history", folded, *PERIOD, "--html", page)
    assert (ended.code, ended.out) == (0, f"{page}: written\n")
    text = page.read_text()
    found = read(text)
    assert found.mistakes == []
    assert not re.search(r"<(script|link|img|iframe|object)|url\(|@import|https?://", text)
    assert "<b>an operator" not in text
    shown = " ".join(found.text)
    for part in ("2001:db8::1", "192.0.2.3:4123", "epoch 13", "health.interval", "right to 5% of themselves", "GPS"):
        assert part in shown


def test_the_page_tells_when_all_is_exact(exact, tmp_path):
    page = tmp_path / "report.html"
    command("report", "--history", exact, *PERIOD, "--html", page)
    assert "exact: every single probe" in " ".join(read(page.read_text()).text)


def test_the_page_in_a_browser_and_on_paper(folded, tmp_path):
    page = tmp_path / "report.html"
    command("report", "--history", folded, *PERIOD, "--html", page)

    async def run():
        async with chromium() as tab:
            for width in (1280, 360):
                opened = await tab(page.as_uri(), viewport={"width": width, "height": 900})
                seen = opened.page
                assert await seen.title() == "Time report, 2023-12-01 to 2024-01-01"
                assert await seen.locator("svg").count() == 8
                assert (await seen.locator("svg .mean").first.bounding_box())["width"] > 100
                wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
                assert await seen.evaluate(wide), width
                assert opened.complaints == []
                assert opened.requests == [page.as_uri()]
            if "NTSPOOL_SCREENSHOT" in os.environ:
                await seen.screenshot(path=os.environ["NTSPOOL_SCREENSHOT"], full_page=True)
            printed = await seen.pdf(format="A4")
            assert printed.startswith(b"%PDF")
            pages = len(re.findall(rb"/Type\s*/Page\b", printed))
            assert 2 <= pages <= 8

    asyncio.run(run())


def test_a_running_gateways_history_is_reported(tmp_path, pki):
    around = lay_out(tmp_path, pki)
    around.configure(panic=100)

    async def run():
        async with around.time_servers() as servers, serving(around):
            await servers["ntp-2"].stop()
            await until(lambda: '"backend DOWN"' in (around.directory / "log").read_text())
            async with asyncio.timeout(90):  # it writes every ten seconds
                while await asyncio.to_thread(probes, around) <= 20:
                    await asyncio.sleep(0.2)

    def probes(around):
        ended = command("report", "--config", around.config, "--last", "1h", "--csv", "-")
        return sum(int(each["probes"]) for each in csv.DictReader(io.StringIO(ended.out)))

    asyncio.run(run())
    ended = command("report", "--config", around.config, "--last", "1h", "--csv", "-")
    one, two = csv.DictReader(io.StringIO(ended.out))
    assert (one["backend"], two["backend"]) == ("ntp-1", "ntp-2")
    assert int(one["good"]) > 10
    assert abs(float(one["offset_median"])) < 0.01
    assert 0 < float(one["uncertainty_median"]) < 1
    assert "refused" in two["failures"] or "no answer" in two["failures"]
    assert float(two["up"]) < float(two["observed"])
    text = command("report", "--config", around.config, "--last", "1h").out
    for event in ("serving", "backend DOWN", "stopped"):
        assert event in text
    assert (around.state / ENTRY).stat().st_mode & 0o777 == 0o600
