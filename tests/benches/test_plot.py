"""The benches' charts are well-formed, and put points where they belong."""

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benches.plot import HEIGHT, WIDTH, Axis, Line, chart

SVG = "{http://www.w3.org/2000/svg}"


def test_a_chart_is_xml_with_every_line_and_label():
    lines = [Line("ours & theirs <b>", [(1, 2), (10, 5)], marked=True), Line("other", [(1, 0), (100, 9)])]
    root = ET.fromstring(chart("A title", Axis("x", 1, 100, log=True), Axis("y", 0, 10), lines))
    assert len(root.findall(f"{SVG}polyline")) == 2
    assert len(root.findall(f"{SVG}circle")) == 2
    texts = {each.text for each in root.iter(f"{SVG}text")}
    assert texts >= {"A title", "x", "y", "ours & theirs <b>", "other", "1", "10", "100", "0", "2"}


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1))
def test_no_point_lies_outside(points):
    root = ET.fromstring(chart("t", Axis("x", 0.1, 1000, log=True), Axis("y", -5, 5), [Line("l", points)]))
    for pair in root.find(f"{SVG}polyline").get("points").split():
        across, down = map(float, pair.split(","))
        assert 0 <= across <= WIDTH
        assert 0 <= down <= HEIGHT


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis("", 0, 100), [0, 20, 40, 60, 80, 100]),
        (Axis("", 0, 7), [0, 2, 4, 6]),
        (Axis("", 0.5, 2000, log=True), [1, 10, 100, 1000]),
        (Axis("", 0.001, 1, log=True), [0.001, 0.01, 0.1, 1]),
    ],
)
def test_ticks_are_round(axis, ticks):
    assert axis.ticks() == pytest.approx(ticks)
