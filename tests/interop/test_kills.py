"""Every process of a pool is killed at random moments; a long run is `python -m tests.interop.kills`."""

import logging

from tests.interop.kills.run import Plan, as_text, run
from tests.interop.kills.scenes import NEED_SOCKETS, SCENES
from tests.interop.lab import find

FEW = (
    "worker",
    "all_workers",
    "control_while_ordered",
    "control_and_worker",
    "agent",
    "agent_while_keys_come",
    "agent_and_backend",
    "backend",
)
log = logging.getLogger(__name__)


def test_kills_lose_nothing_but_what_was_open_in_who_was_killed():
    find("chronyd")
    # The gateway opens its own port here: it must not be lost with a control process.
    found = run(Plan(11, 4, FEW, backends=3, rate=10, clients=6, chronyds=1, activated=False), log.info)
    assert found.wrong == [], as_text(found)
    assert sum(found.figures["kills"].values()) >= 11
    assert found.figures["NAKs"] == 0
    assert found.figures["sessions"] >= 50


def test_the_few_scenes_are_some_of_all():
    assert set(FEW) | set(NEED_SOCKETS) < SCENES.keys()
