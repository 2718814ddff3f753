"""A gateway under attack: healthy clients are served, nothing grows, and all is as before when it is over.

At full size, and with the default limits: `python -m tests.abuse --full`.
"""

import pytest

from tests.abuse.scenarios import TOGETHER
from tests.abuse.scene import NEAR, attackers, play, scene
from tests.interop.lab import working_directory

RATE, CLIENTS = 20.0, 30
MOST_LINES = 250
"""What is logged of sessions that fail in twenty seconds, and something."""

# On a busy machine clients wait for theirs longer than the default queue would have them wait.
LIMITS = "{sessions: 300, session_timeout: 2s, queue: {target: off}}"


@pytest.fixture(scope="module")
def gateway():
    with working_directory() as directory, scene(directory, LIMITS) as set_up:
        yield set_up


@pytest.mark.parametrize("scenario", TOGETHER, ids=lambda scenario: scenario.name)
def test_healthy_clients_are_served_and_nothing_grows(gateway, scenario):
    seen = play(gateway, attackers(gateway, scenario, 1, "127.66.0.0/24"), RATE, CLIENTS)
    assert seen.served >= 0.95, (seen.healthy, seen.counted)
    assert seen.peak - seen.before < scenario.memory
    assert seen.after - seen.before <= NEAR
    assert seen.descriptors[1] <= seen.descriptors[0]
    assert seen.lines < seen.healthy.total() + MOST_LINES
    assert not scenario.turned_away or scenario.turned_away & seen.labels("clients_turned_away").keys()
