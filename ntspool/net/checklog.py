"""What the checker says: one event for each change, in words that operators and tests can count on."""

import structlog

from ntspool.pool.causes import Failure
from ntspool.pool.fleet import Condition, Fleet, Mode, Target
from ntspool.pool.health import Health

log = structlog.get_logger()

_FAMILIES = {4: "IPv4", 6: "IPv6"}


class CheckLog:
    """Says what changed in a fleet; what stays as it was is said once."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._mode = Mode.MAJORITY
        self._panicking: frozenset[int] = frozenset()

    def check(self, target: Target, before: Condition, after: Condition) -> None:
        """Say how an address went UP or DOWN, or on the way there; and of its AEADs, what is not said by that."""
        words = {"backend": target.backend, "address": str(target.address)}
        health, turned = after.health, _turned(before.health, after.health)
        if health.against and health != before.health:
            cause = health.cause if health.up else "answers"
            log.info("check", **words, state=health.describe(self._fleet.rules.rules), cause=cause)
        if turned:
            kept = health.up and health.failure is not None
            cause = f"{health.cause}, kept in panic" if kept else health.cause
            (log.info if health.up else log.warning)(f"backend {health.state}", **words, cause=cause)
        for aead, check in after.aeads.items():
            alike = turned and check.up == health.up
            if _turned(before.aeads.get(aead, Health()), check) and not alike:
                level = log.info if check.up else log.warning
                level(f"aead {check.state}", **words, aead=aead.label, cause=check.cause)

    def keys(self, target: Target, behind: Failure | None) -> None:
        """Say that the keys of an address are behind, or are so no more."""
        words = {"backend": target.backend, "address": str(target.address)}
        if behind:
            log.warning("keys behind", **words, cause=str(behind))
        else:
            log.info("keys current", **words)

    def vote(self) -> None:
        """Say when it changes whom the offset vote trusts."""
        ballot = self._fleet.ballot
        if ballot.mode is self._mode:
            return
        words = {"mode": str(ballot.mode), "before": str(self._mode), "voters": ballot.voters}
        self._mode = ballot.mode
        if ballot.mode is Mode.NO_MAJORITY:
            log.error("offset vote", **words, effect="clocks disagree and none is believed more: nobody is accused")
        elif ballot.mode is Mode.LOCAL_CLOCK:
            log.warning("offset vote", **words, effect="fewer than three backends: this machine's clock votes too")
        else:
            log.info("offset vote", **words, effect="the backends' majority decides")

    def panic(self) -> None:
        """Say when silence begins to be taken for our own trouble, and when that is over."""
        now = self._fleet.panicking
        for family in sorted(now - self._panicking):
            effect = "suspecting our own network; the last good backends are kept"
            log.error("panic", family=_FAMILIES[family], state="on", effect=effect)
        for family in sorted(self._panicking - now):
            log.error("panic", family=_FAMILIES[family], state="off", effect="backends are judged by their answers")
        self._panicking = now


def _turned(before: Health, after: Health) -> bool:
    return after.probed and (before.up != after.up or not before.probed)
