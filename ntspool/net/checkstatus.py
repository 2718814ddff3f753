"""What the checker knows, for whoever shows it."""

from collections.abc import Mapping
from dataclasses import dataclass

from ntspool.net.probe import Result
from ntspool.net.watch import Watch
from ntspool.pool.causes import Cause, Failure
from ntspool.pool.fleet import Condition, Fleet, Target
from ntspool.pool.model import Address, Backend
from ntspool.pool.proofs import Proof


@dataclass(frozen=True, slots=True)
class Status:
    """What is known of one address: `condition` of its health, and `proof` of its keys.

    `shown` is its state as HAProxy shows it, `keys` why it is not minted for under the current epoch (None if it is),
    `share` the share of its weight that it has now, `offset` how far its clock is ahead of the pool's, in seconds, None
    while that is not known. `checked` and `answered` are when it was last probed and last found good, in Unix seconds,
    None for never; `probes` and `failures` count, `causes` the failures by cause, of which one may have several.
    `reported` is its agent's last complaint.
    """

    backend: Backend
    address: Address
    condition: Condition
    shown: str
    share: float
    proof: Proof
    offset: float | None
    keys: Failure | None
    checked: float | None
    answered: float | None
    probes: int
    failures: int
    causes: Mapping[Cause, int]
    reported: str | None


def status_of(
    target: Target, watch: Watch, fleet: Fleet, now: float, *, keys: Failure | None, reported: str | None
) -> Status:
    """Put together what is known of a target; `now` is on the fleet's clock."""
    condition = fleet[target]
    return Status(
        backend=watch.backend,
        address=target.address,
        condition=condition,
        shown=condition.health.describe(fleet.rules.rules),
        share=fleet.share(target, now),
        proof=watch.proof,
        keys=keys,
        offset=fleet.offset(target),
        checked=watch.checked,
        answered=watch.answered,
        probes=watch.probes,
        failures=watch.failures,
        causes=dict(watch.causes),
        reported=reported,
    )


@dataclass(frozen=True, slots=True)
class Probed:
    """What one probe of an address found: None if this system had no socket for it; `offset` is as in Status."""

    address: Address
    port: int
    result: Result | None
    offset: float | None
