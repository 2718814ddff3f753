"""How backends are probed, and when the next probe is due."""

from dataclasses import dataclass, field

from ntspool.pool.fleet import Condition, FleetRules
from ntspool.pool.health import Rules
from ntspool.pool.sample import Limits


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """How often an address is probed and how long an answer may take, in seconds, and what decides.

    `fast_interval` holds on the way from one state to the other, `down_interval` while DOWN; None is `interval`.
    `panic` is a share (0 to 1), `max_offset` and `slow_start` are in seconds.
    """

    interval: float
    timeout: float
    rules: Rules
    fast_interval: float | None = None
    down_interval: float | None = None
    slow_start: float = 0.0
    panic: float = 0.5
    max_offset: float = 0.1
    limits: Limits = field(default_factory=Limits)

    def pause(self, condition: Condition) -> float:
        """Return the seconds from one probe of an address to the next."""
        checks = condition.aeads.values()
        # Who is kept up by panic, and was asked often enough, is in no transition any more.
        if any(check.against and not (check.up and check.against >= self.rules.fall) for check in checks):
            return self.fast_interval or self.interval
        return self.interval if condition.health.up else self.down_interval or self.interval

    @property
    def fleet_rules(self) -> FleetRules:
        """What decides for the pool as a whole."""
        fast = max(self.fast_interval or self.interval, self.timeout)
        longest = max(self.interval, self.down_interval or 0.0)
        return FleetRules(
            rules=self.rules,
            round=1.1 * self.interval + self.rules.fall * (fast + self.timeout),
            max_age=2 * longest + 2 * self.timeout,
            panic=self.panic,
            max_offset=self.max_offset,
            slow_start=self.slow_start,
        )
