"""Health of one check, an address with one AEAD: the rise/fall machine of HAProxy's checks, fed by probes."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from ntspool.pool.causes import NOT_PROBED, Failure

RAMP_STEPS = 10
"""In how many steps a weight grows during `slow_start`: each is a new snapshot for every worker."""


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
    """What is believed of one check: its state, how many probes in a row speak against that, and why.

    `probed` is False until the first probe has ended: nobody is sent to a server that has never answered. `failure` is
    the newest one while the check is DOWN or on its way there. `silent_since` is when an UP check last began not to be
    answered, None once it is answered; `risen` when it last came back up. Times are those handed to `observe`.
    """

    state: State = State.DOWN
    against: int = 0
    probed: bool = False
    failure: Failure | None = NOT_PROBED
    silent_since: float | None = None
    risen: float | None = None

    @property
    def cause(self) -> str:
        """Why, in words; empty for what is well."""
        return "" if self.failure is None else str(self.failure)

    @property
    def up(self) -> bool:
        """Whether clients may be sent there."""
        return self.state is State.UP

    def describe(self, rules: Rules) -> str:
        """Return the state as HAProxy shows it: `UP`, `DOWN`, or on the way from it `UP 2/3`."""
        if not self.against:
            return str(self.state)
        return f"{self.state} {self.against}/{rules.fall if self.up else rules.rise}"


def observe(health: Health, failure: Failure | None, rules: Rules, now: float, *, held: bool = False) -> Health:
    """Return the health after one probe; `failure` is None for success.

    The first probe decides at once, so that a gateway that starts does not make its clients wait for `rise`. So does
    evidence; silence is counted. `held` keeps up what is silent (see panic.py).
    """
    if failure is None:
        return _succeed(health, rules, now)
    silent_since = None
    if not failure.evident:
        silent_since = now if health.up and health.silent_since is None else health.silent_since
    seen = replace(health, failure=failure, silent_since=silent_since, probed=True)
    if not health.up:
        return replace(seen, against=0)
    against = min(health.against + 1, rules.fall)
    if failure.evident or (against == rules.fall and not held):
        return replace(seen, state=State.DOWN, against=0, risen=None)
    return replace(seen, against=against)


def revive(health: Health, rules: Rules) -> Health:
    """Return the health of a check that fell silent, UP again; one more silent probe that is not held ends that."""
    return health if health.up else replace(health, state=State.UP, against=rules.fall)


def best(checks: Iterable[Health]) -> Health:
    """Return the health that speaks for an address: it is UP while any of its checks is."""
    return min(checks, key=lambda each: (not each.up, each.against if each.up else -each.against), default=Health())


def ramp(risen: float | None, now: float, slow_start: float) -> float:
    """Return which share of its weight a check has that came back up at `risen`: a tenth first, all in the end."""
    if risen is None or now - risen >= slow_start:
        return 1.0
    return (int((now - risen) / slow_start * RAMP_STEPS) + 1) / RAMP_STEPS


def _succeed(health: Health, rules: Rules, now: float) -> Health:
    well = replace(health, against=0, probed=True, failure=None, silent_since=None)
    if health.up:
        return well
    if not health.probed:
        return replace(well, state=State.UP)
    if health.against + 1 >= rules.rise:
        return replace(well, state=State.UP, risen=now)
    return replace(health, against=health.against + 1, silent_since=None)
