"""What the soak makes of its figures: sessions that a kill explains, slopes, and a verdict that can be bad."""

import math

import pytest

from benches.soak_figures import (
    MEMORY,
    NONE,
    Broken,
    Cut,
    count,
    growth,
    longest_lived,
    more_descriptors,
    slope,
    unfounded,
    verdict,
)

KILL = Cut(killed=100.0, gone=100.02)


@pytest.mark.parametrize(
    ("kind", "answered", "began", "ended", "end"),
    [
        ("eof", True, 99.9, 100.01, "cut"),
        ("conn", False, 100.01, 100.5, "cut"),
        ("eof", True, 99.9, 99.95, "failed"),
        ("eof", True, 100.1, 100.2, "failed"),
        ("eof", True, 99.9, 101.5, "failed"),
        ("eof", False, 100.1, 100.2, "turned away"),
        ("timeout", True, 99.9, 100.5, "failed"),
        ("timeout", False, 90.0, 95.0, "failed"),
        ("proto", True, 99.9, 100.01, "failed"),
    ],
)
def test_sessions_are_cut_by_a_kill_or_turned_away_before_tls_or_failed(kind, answered, began, ended, end):
    assert count([Broken(kind, answered, began, ended)], [KILL]) == {end: 1}


def test_a_worker_that_is_about_to_go_explains_what_breaks_now():
    assert count([Broken("eof", True, 100.5, 100.6)], [Cut(100.0, math.inf)]) == {"cut": 1}


@pytest.mark.parametrize(("others", "stolen", "away"), [(0.1, 0.0, 1), (0.4, 0.0, 0), (0.2, 0.2, 0)])
def test_clients_are_turned_away_for_nothing_unless_others_have_the_core(others, stolen, away):
    made = rows(turned_away=1)
    made[-2] |= {"others": others, "stolen": stolen}
    assert unfounded(made) == away
    assert len(broken(verdict(made, 18, 18))) == away


def test_the_slope_is_that_of_the_line_whatever_a_third_of_the_points_says():
    points = [(float(x), 3.0 + 0.5 * x + (900.0 if x % 4 == 0 else 0.0)) for x in range(200)]
    assert slope(points) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("points", [[], [(1.0, 7.0)], [(float(x), 7.0) for x in range(2000)]])
def test_what_does_not_grow_has_no_slope(points):
    assert slope(points) == 0.0


def rows(grown=0.0, descriptors=0, number=540, **last):
    """Return the figures of 90 minutes in which every group grew by so much; `last` are the last line's own."""
    made = []
    for at in range(1, number + 1):
        row = {"seconds": 10.0 * at, "worker_pid": 7.0, **dict.fromkeys(NONE, 0)}
        row |= {"turned_away": 0, "others": 0.0, "stolen": 0.0}
        for group in MEMORY:
            row |= {f"{group}_mib": 50 + grown * at / number, f"{group}_fds": 20 + descriptors * (at > number // 2)}
        made.append(row)
    made[-1] |= last
    return made


def broken(told):
    return {words for kept, words in told if not kept}


def test_a_quiet_soak_keeps_every_rule():
    assert broken(verdict(rows(grown=0.5), 18, 18)) == set()


def test_growth_is_over_the_whole_run_though_the_warm_up_does_not_count():
    made = rows(grown=9.0)
    for row in made[:80]:
        row["control_mib"] = 1.0
    assert growth(made, "control") == pytest.approx(9.0, rel=0.01)
    assert "control: +9.00 MiB over the run (bound 4)" in broken(verdict(made, 18, 18))


def test_the_worker_that_lived_longest_is_looked_at():
    made = rows()
    for number, row in enumerate(made):
        row["worker_pid"] = 1.0 if number < 100 else 2.0 if number < 500 else 3.0
        row["worker_mib"] = {1.0: 90.0, 2.0: 50.0, 3.0: 70.0}[row["worker_pid"]]
    assert {row["worker_pid"] for row in longest_lived(made)} == {2.0}
    assert growth(made, "worker") == 0.0


@pytest.mark.parametrize("key", NONE)
def test_one_of_what_must_not_be_breaks_the_rule(key):
    assert broken(verdict(rows(**{key: 1}), 18, 18)) == {f"1 {NONE[key]}"}


def test_descriptors_that_stay_open_are_seen():
    assert more_descriptors(rows(descriptors=2), "agents") == 2
    assert "agents: +2 descriptors (bound 1)" in broken(verdict(rows(descriptors=2), 18, 18))


def test_a_rotation_that_was_left_out_is_missed():
    assert broken(verdict(rows(), 17, 18)) == {"17 rotations of 18"}
