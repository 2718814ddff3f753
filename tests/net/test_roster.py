"""Whose place another may have."""

from dataclasses import dataclass

import pytest

from ntspool.net.connection import Accepted
from ntspool.net.roster import GREETING_GRACE, SESSION_GRACE, Roster


@dataclass
class Connection:
    descriptor: int
    client: Accepted
    greeted: bool = False


@pytest.fixture
def roster():
    return Roster()


def come(roster, descriptor, began, *, greeted=False):
    connection = Connection(descriptor, Accepted(None, "192.0.2.1", b"", began))
    roster.add(connection)
    connection.greeted = greeted
    roster.heard(connection)
    return connection


def test_within_their_grace_nobody_is(roster):
    assert roster.dispensable(0.0) is None
    come(roster, 3, 0.0, greeted=True)
    come(roster, 4, SESSION_GRACE - GREETING_GRACE)
    assert roster.dispensable(SESSION_GRACE * 0.99) is None


def test_who_is_silent_for_longest_comes_before_who_is_here_for_longest(roster):
    old = come(roster, 3, 0.0, greeted=True)
    silent = [come(roster, descriptor, 1.0 + descriptor / 100) for descriptor in (4, 5)]
    assert roster.dispensable(9.0) is silent[0]
    roster.remove(silent[0])
    assert roster.dispensable(9.0) is silent[1]
    silent[1].greeted = True
    roster.heard(silent[1])
    assert roster.dispensable(9.0) is old
    roster.remove(old)
    assert roster.dispensable(9.0) is silent[1]


def test_half_a_hello_is_silence(roster):
    late = come(roster, 3, 0.0)
    roster.heard(late)
    assert roster.dispensable(GREETING_GRACE) is late
