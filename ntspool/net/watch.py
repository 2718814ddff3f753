"""The bookkeeping of one address that is watched."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ntspool.net.probe import Finding
from ntspool.pool import proofs
from ntspool.pool.causes import Cause, Failure
from ntspool.pool.keyring import Keyring
from ntspool.pool.model import Backend
from ntspool.pool.proofs import Proof
from ntspool.wire.aead import Aead


@dataclass
class Watch:
    """What an address of a backend has proved, and how its probes went; see Status for the words.

    `behind` is what was last said of its keys.
    """

    backend: Backend
    proof: Proof
    checked: float | None = None
    answered: float | None = None
    probes: int = 0
    failures: int = 0
    causes: Counter[Cause] = field(default_factory=Counter)
    behind: Failure | None = None

    def count(self, outcomes: Mapping[Aead, Failure | None], now: float) -> None:
        """Count a probe that ended at Unix time `now`; it is good if one AEAD was."""
        self.checked = now
        self.probes += 1
        if None in outcomes.values():
            self.answered = now
        else:
            self.causes.update({failure.cause for failure in outcomes.values() if failure})
            self.failures += 1

    def prove(self, findings: Iterable[Finding], keyring: Keyring, now: float) -> bool:
        """Take note of epochs accepted and refused; tell whether that changes under which epoch is minted."""
        standing = proofs.standing(self.proof)
        for finding in findings:
            # The keyring may have been replaced while the answer was under way.
            if finding.epoch not in keyring.epochs:
                continue
            number = finding.epoch.number
            if finding.accepted:
                self.proof = proofs.accepted(self.proof, number, finding.mints, keyring, now)
            else:
                self.proof = proofs.refused(self.proof, number, keyring, now)
        return proofs.standing(self.proof) != standing
