"""What the probes of a whole pool mean: who is UP, who lies, and whether it is ourselves that are cut off.

State and observations in, state out; times are those of one clock that nobody sets, in seconds.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from ntspool.pool.causes import Cause, Failure
from ntspool.pool.cookies import CookieFormat
from ntspool.pool.health import Health, Rules, best, observe, ramp, revive
from ntspool.pool.model import Address, Backend, FixedKey
from ntspool.pool.panic import Standing, panics
from ntspool.pool.sample import Sample
from ntspool.pool.vote import Interval, intersect, interval
from ntspool.wire.aead import Aead

_PACE = 0.001
"""Seconds for each target between two counts of all of them, so that a thousand targets do not cost a core."""

_QUORUM = 3
"""Clocks it takes to tell which one is wrong."""


_NEW = Health()


@dataclass(frozen=True, slots=True)
class Target:
    """An address of a backend, and whose cookies it opens or how it is asked for its own.

    What is known of one target holds for no other.
    """

    backend: str
    address: Address
    port: int
    cookies: CookieFormat | FixedKey
    key_group: str


def targets_of(backend: Backend) -> list[Target]:
    """Return the targets that a backend's addresses are."""
    return [
        Target(backend.name, address, backend.port, backend.cookies, backend.key_group) for address in backend.addresses
    ]


@dataclass(frozen=True, slots=True)
class FleetRules:
    """What decides: `panic` is a share (0 to 1), `max_offset` in seconds, `slow_start` in seconds.

    `round` is within how many seconds every target is probed, and `max_age` how old a sample may be to vote.
    """

    rules: Rules
    round: float
    max_age: float
    panic: float = 0.5
    max_offset: float = 0.1
    slow_start: float = 0.0


class Mode(StrEnum):
    """Whom the offset vote trusts."""

    MAJORITY = "majority"
    LOCAL_CLOCK = "local clock"
    NO_MAJORITY = "no majority"


@dataclass(frozen=True, slots=True)
class Ballot:
    """How a vote came out: the bounds of the true time against the common clock, None if nobody is to be accused."""

    mode: Mode
    truth: Interval | None
    voters: int
    agreeing: int


@dataclass(frozen=True, slots=True)
class Condition:
    """What is believed of one target: of it as a whole, and with each AEAD; `sample` is its newest measurement."""

    health: Health = _NEW
    aeads: Mapping[Aead, Health] = field(default_factory=dict)
    sample: Sample | None = None


class Fleet:
    """The targets that are watched and what is believed of them; `rules` may be replaced at any time.

    `panicking` holds the address families (4, 6) in which silence is taken for our own trouble.
    """

    def __init__(self, rules: FleetRules) -> None:
        self.rules = rules
        self._conditions: dict[Target, Condition] = {}
        self._voters: dict[Target, Sample] = {}
        self._jumps: dict[Target, float] = {}
        self._counted: dict[int, float] = {}
        self._voted = float("-inf")
        self.panicking: frozenset[int] = frozenset()
        self.ballot = Ballot(Mode.MAJORITY, None, 0, 0)

    def __getitem__(self, target: Target) -> Condition:
        return self._conditions.get(target, _UNKNOWN)

    def keep(self, targets: Mapping[Target, Collection[Aead]]) -> None:
        """Forget all targets but these, and of these all AEADs but theirs."""
        for target in self._conditions.keys() - targets.keys():
            del self._conditions[target]
            self._voters.pop(target, None)
            self._jumps.pop(target, None)
        for target in self._conditions:
            left = {aead: health for aead, health in self[target].aeads.items() if aead in targets[target]}
            self._set(target, left)

    def measure(self, target: Target, sample: Sample, *, good: bool) -> None:
        """Take a target's newest measurement; only a `good` one, whose time a client would use, has a vote."""
        before = self[target].sample
        # In the order of measurement, the newest last.
        self._jumps.pop(target, None)
        self._jumps[target] = sample.offset - before.offset if before else 0.0
        self._conditions[target] = replace(self[target], sample=sample)
        if good:
            self._voters[target] = sample
        else:
            self._voters.pop(target, None)

    def accuse(self, target: Target, local: float, now: float) -> Failure | None:
        """Return the accusation if a target's measurement has nothing in common with the majority's.

        `local` is how far the system's clock is ahead of the common one.
        """
        if now - self._voted >= _PACE * len(self._voters):
            self._voted = now
            self._vote(local, now)
        sample, truth = self._voters.get(target), self.ballot.truth
        if sample is None or truth is None:
            return None
        if interval(sample.offset, sample.distance_at(now), self.rules.max_offset).meets(truth):
            return None
        if self._jumped_alike(target):
            return None
        figures = f"{sample.offset - truth.middle:+.3f} s, {self.ballot.agreeing} of {self.ballot.voters} agree"
        return Failure(Cause.OFFSET, figures)

    def _jumped_alike(self, target: Target) -> bool:
        """Tell whether another backend's clock, measured just before, jumped as far as this one.

        Then it was the common clock that jumped: it stands still while the machine is suspended.
        """
        jump, tolerance = self._jumps.get(target, 0.0), self.rules.max_offset
        for other in reversed(self._jumps):
            if other.backend != target.backend:
                return abs(jump) > tolerance and abs(jump - self._jumps[other]) < tolerance
        return False

    def offset(self, target: Target) -> float | None:
        """Return how far a target's clock was ahead of the majority's when it was last measured, if that is known."""
        sample, truth = self[target].sample, self.ballot.truth
        return sample.offset - truth.middle if sample and truth else None

    def observe(
        self, target: Target, outcomes: Mapping[Aead, Failure | None], now: float
    ) -> list[tuple[Target, Condition, Condition]]:
        """Take what a probe found with each AEAD; return the target, and who else changed, each before and after."""
        family = target.address.version
        held = family in self.panicking
        before = self[target]
        checks = {
            aead: observe(before.aeads.get(aead, _NEW), failure, self.rules.rules, now, held=held)
            for aead, failure in outcomes.items()
        }
        self._set(target, {**before.aeads, **checks})
        changed = {target: before}
        if held or any(failure is not None and not failure.evident for failure in outcomes.values()):
            lost = before.health.up and not self[target].health.up
            for other, was in self._weigh(family, now, at_once=lost).items():
                changed.setdefault(other, was)
        return [(each, was, self[each]) for each, was in changed.items()]

    def share(self, target: Target, now: float) -> float:
        """Return which share of its weight a target has now (see `health.ramp`)."""
        shares = (ramp(each.risen, now, self.rules.slow_start) for each in self[target].aeads.values() if each.up)
        return max(shares, default=0.0)

    def _set(self, target: Target, aeads: Mapping[Aead, Health]) -> None:
        self._conditions[target] = replace(self[target], health=best(aeads.values()), aeads=aeads)

    def _weigh(self, family: int, now: float, *, at_once: bool) -> dict[Target, Condition]:
        """Decide anew whether we are cut off; return whom that brought back, with what was believed of them before."""
        members = [member for member in self._conditions if member.address.version == family]
        if not at_once and now - self._counted.get(family, float("-inf")) < _PACE * len(members):
            return {}
        self._counted[family] = now
        standings = [
            Standing(member.backend, check.up, check.silent_since)
            for member in members
            for check in self._conditions[member].aeads.values()
        ]
        since = now - self.rules.round
        if not panics(standings, self.rules.panic, since):
            self.panicking -= {family}
            return {}
        self.panicking |= {family}
        revived: dict[Target, Condition] = {}
        for member in members:
            before = self._conditions[member]
            checks = {aead: self._revived(check, since) for aead, check in before.aeads.items()}
            if checks != before.aeads:
                revived[member] = before
                self._set(member, checks)
        return revived

    def _revived(self, check: Health, since: float) -> Health:
        fresh = check.silent_since is not None and check.silent_since >= since
        return revive(check, self.rules.rules) if fresh else check

    def _vote(self, local: float, now: float) -> None:
        newest: dict[str, Sample] = {}
        for member, sample in list(self._voters.items()):
            if now - sample.taken > self.rules.max_age:
                del self._voters[member]
            elif member.backend not in newest or newest[member.backend].taken < sample.taken:
                newest[member.backend] = sample
        tolerance = self.rules.max_offset
        votes = [interval(each.offset, each.distance_at(now), tolerance) for each in newest.values()]
        mode = Mode.MAJORITY
        if len(votes) < _QUORUM:
            mode = Mode.LOCAL_CLOCK
            votes.append(interval(local, 0.0, tolerance))
        truth = intersect(votes)
        agreeing = 0 if truth is None else sum(each.meets(truth) for each in votes)
        self.ballot = Ballot(mode if truth else Mode.NO_MAJORITY, truth, len(votes), agreeing)


_UNKNOWN = Condition()
