"""Figures as people read them."""

import pytest

from ntspool.net.page.wording import count, measured, moment, percent, span

SPACES = str.maketrans({"\N{NO-BREAK SPACE}": " ", "\N{NARROW NO-BREAK SPACE}": " ", "\N{MINUS SIGN}": "-"})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "<1 min"), (59, "<1 min"), (60, "1 min"), (3599, "60 min"), (3600, "1 h"), (86400, "1 d"), (1e7, "116 d")],
)
def test_a_span_has_one_unit(seconds, text):
    assert span(seconds).translate(SPACES) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "\N{EN DASH}"),
        (0.0, "0 ns"),
        (4.2e-7, "420 ns"),
        (1.23e-5, "12 µs"),
        (0.0041, "4.10 ms"),
        (0.0123, "12.3 ms"),
        (0.123, "123 ms"),
        (1.5, "1.50 s"),
        (-0.0841, "-84.1 ms"),
    ],
)
def test_a_measurement_has_three_digits(seconds, text):
    assert measured(seconds).translate(SPACES) == text


def test_a_sign_tells_ahead_from_behind():
    assert [measured(value, sign=True).translate(SPACES) for value in (2e-6, -2e-6)] == ["+2 µs", "-2 µs"]


def test_numbers_parts_and_times():
    assert count(1234567).translate(SPACES) == "1 234 567"
    assert percent(0.2512).translate(SPACES) == "25.1 %"
    assert 'datetime="2025-11-25T00:20:00Z"' in moment(1_764_030_000)
    assert moment(1e300) == "\N{EN DASH}"
