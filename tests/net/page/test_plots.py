"""What is drawn where: lines, gaps, and the hours in which an address was not UP."""

import re

import pytest

from ntspool.net.page import dial, plots
from ntspool.pool.history import POINTS, Point, Rate
from tests.net.page import views
from tests.net.page.reading import read

MINUTE = 60.0


def series(count, down=(), **more):
    """Return the last minutes of an address; in those of `down` it was not UP, and nothing was measured."""
    return tuple(
        Point(views.NOW + minute * MINUTE, *((None, None) if minute in down else (1e-3, 0.02)), up=minute not in down)
        for minute in range(count)
    )


def drawn(svg, tag, kind):
    return [attributes for name, attributes, _ in read(svg).elements if name == tag and attributes.get("class") == kind]


def test_a_gap_parts_the_line_and_is_hatched():
    svg = plots.offsets(series(POINTS, down=range(100, 130)))
    assert len(drawn(svg, "path", "line")) == 2
    [block] = drawn(svg, "rect", "silent")
    assert (block["x"], block["width"]) == ("100", "30")
    assert "from +1.00\N{NO-BREAK SPACE}ms to +1.00" in svg
    assert "over the last 6\N{NO-BREAK SPACE}h" in svg


def test_a_young_gateway_draws_on_half_an_hour():
    [line] = drawn(plots.delays(series(3)), "path", "line")
    assert re.findall(r"[ML]([0-9.]+) ", line["d"]) == ["324.0", "336.0", "348.0"]
    assert line["d"].endswith("h12.0")


def test_an_address_that_was_never_measured_is_said_to_be_so():
    assert "not measured" in plots.offsets(())
    assert "not measured" in plots.delays(series(5, down=range(5)))


def test_small_plots_keep_the_extremes_with_a_third_of_the_points():
    points = [Point(views.NOW + minute * MINUTE, 0.0, 0.01, up=True) for minute in range(POINTS)]
    points[201] = Point(points[201].time, -0.5, 0.9, up=True)
    for svg, y in ((plots.offsets(points), "56.0"), (plots.delays(points), "4.0")):
        [line] = drawn(svg, "path", "line")
        places = re.findall(r"[ML]([0-9.]+) ([0-9.]+)", line["d"])
        assert len(places) <= POINTS // 3 + 1
        assert ("201.0", y) in places


def test_the_rate_starts_at_zero_and_its_top_is_the_most():
    [line] = drawn(plots.rates([Rate(views.NOW, 0.0), Rate(views.NOW + MINUTE, 8.0)]), "path", "line")
    assert re.findall(r" ([0-9.]+)", line["d"].partition("h")[0]) == ["56.0", "4.0"]


@pytest.mark.parametrize(("part", "width"), [(-1.0, "0"), (0.25, "25"), (7.0, "100")])
def test_a_bar_stays_within_its_bounds(part, width):
    [filled] = drawn(plots.bar(part, 0.5, "a share"), "rect", "filled")
    assert filled["width"] == width


def test_clocks_stand_where_their_offsets_are():
    backends = [
        views.backend(name, addresses=(views.address(offset=offset),))
        for name, offset in (("behind", -1e-3), ("right", 0.0), ("ahead", 5e-4))
    ]
    figure = dial.dial(views.gateway(backends))
    places = [attributes["cx"] for tag, attributes, _ in read(figure).elements if tag == "circle"]
    assert places == ["6.00%", "50.00%", "72.00%"]
    assert "\N{MINUS SIGN}1.00\N{NO-BREAK SPACE}ms" in figure
    assert {"behind", "right", "ahead"} <= set(read(figure).text)


def test_no_scale_without_clocks():
    silent = views.backend(addresses=(views.address(up=False, offset=1.0),))
    assert dial.dial(views.gateway([silent])) is None


def test_names_that_would_overlap_are_left_out_and_their_dots_are_not():
    crowd = [views.backend(f"backend-{number}", addresses=(views.address(offset=1e-6),)) for number in range(9)]
    reader = read(dial.dial(views.gateway(crowd)))
    assert sum(tag == "circle" for tag, *_ in reader.elements) == 9
    assert sum(attributes.get("class") == "name" for _, attributes, _ in reader.elements) == 3
