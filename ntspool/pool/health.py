"""Health of one address of a backend: the rise/fall machine of HAProxy's checks, fed by probes."""

from dataclasses import dataclass, replace
from enum import StrEnum


class State(StrEnum):
    """HAProxy's words for what a check has found."""

    UP = "UP"
    DOWN = "DOWN"


@dataclass(frozen=True, slots=True)
class Rules:
    """How many probes in a row must succeed to come up (`rise`) and fail to go down (`fall`)."""

    rise: int
    fall: int


@dataclass(frozen=True, slots=True)
class Health:
    """What is believed of one address: its state, how many probes in a row speak against that, and why.

    `probed` is False until the first probe has ended: nobody is sent to a server that has never answered.
    """

    state: State = State.DOWN
    against: int = 0
    probed: bool = False
    cause: str = "not probed yet"

    def describe(self, rules: Rules) -> str:
        """Return the state as HAProxy shows it: `UP`, `DOWN`, or on the way from it `UP 2/3`."""
        if not self.against:
            return str(self.state)
        needed = rules.fall if self.state is State.UP else rules.rise
        return f"{self.state} {self.against}/{needed}"


def observe(health: Health, failure: str | None, rules: Rules) -> Health:
    """Return the health after one probe; `failure` is None for success, else the cause.

    The first probe decides at once, so that a gateway that starts does not make its clients wait for `rise`.
    """
    seen = State.UP if failure is None else State.DOWN
    cause = failure or ""
    if not health.probed:
        return Health(seen, probed=True, cause=cause)
    if seen is health.state:
        return replace(health, against=0, cause=cause)
    against = health.against + 1
    if against >= (rules.rise if seen is State.UP else rules.fall):
        return Health(seen, probed=True, cause=cause)
    return replace(health, against=against)
