"""Which epochs a backend has proved, what to mint under for it, and when a rotation costs nobody a NAK.

A backend has proved an epoch when it answered, with a valid authenticator, a request whose cookie was minted under
it. The cookies in its answers tell which epoch it mints under itself. Nothing else is believed: not that a file was
delivered, nor that `chronyc rekey` said 200 OK.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from ntspool.pool.causes import Cause, Failure
from ntspool.pool.keyring import Epoch, Keyring


@dataclass(frozen=True, slots=True)
class Proof:
    """What one address of a backend has proved, by epoch number; times are Unix seconds.

    `accepts` says since when it opens cookies of an epoch, `reached` since when no new cookie of an older epoch comes
    into the world for it, neither from the gateway nor from itself. `seen` is when it last proved anything, or when it
    began to be watched.
    """

    seen: float
    accepts: Mapping[int, float] = field(default_factory=lambda: MappingProxyType({}))
    mints: int | None = None
    reached: Mapping[int, float] = field(default_factory=lambda: MappingProxyType({}))


def accepted(proof: Proof, epoch: int, mints: int | None, keyring: Keyring, now: float) -> Proof:
    """Return the proof after a cookie of `epoch` was answered; `mints` is the epoch of the cookies in the answer."""
    accepts = {epoch: now, **proof.accepts}
    return _advance(replace(proof, accepts=MappingProxyType(accepts), mints=mints, seen=now), keyring, now)


def refused(proof: Proof, epoch: int, keyring: Keyring, now: float) -> Proof:
    """Return the proof after a cookie of `epoch` was refused: what it proved once it proves no more."""
    accepts = {number: since for number, since in proof.accepts.items() if number != epoch}
    return _advance(replace(proof, accepts=MappingProxyType(accepts)), keyring, now)


def carried_over(proof: Proof, before: Keyring, after: Keyring) -> Proof:
    """Return what is left of a proof when `after` replaces `before`: another root under a number is another epoch."""
    roots = {epoch.number: epoch.root for epoch in before.epochs}
    same = {epoch.number for epoch in after.epochs if roots.get(epoch.number) == epoch.root}
    # That older epochs have come to an end is as true when the epoch itself is revoked.
    begun = same | {epoch.number for epoch in after.epochs if epoch.revoked}
    return replace(
        proof,
        accepts=MappingProxyType({number: since for number, since in proof.accepts.items() if number in same}),
        reached=MappingProxyType({number: since for number, since in proof.reached.items() if number in begun}),
    )


def mint_epoch(keyring: Keyring, proofs: Sequence[Proof]) -> Epoch | None:
    """Return the newest epoch, current or older, that every one of a backend's addresses has proved.

    None when there is none, or no address: then nothing can be minted for that backend. Nor can it while it mints
    itself under an epoch that its next key file will not hold: its clients would be the worse for that file.
    """
    alive = [epoch.number for epoch in keyring.epochs]
    if any(proof.mints not in alive for proof in proofs):
        return None
    for epoch in keyring.mintable:
        if proofs and all(epoch.number in proof.accepts for proof in proofs):
            return epoch
    return None


def lagging(proof: Proof, epoch: Epoch) -> bool:
    """Tell whether an address has not proved `epoch`."""
    return epoch.number not in proof.accepts


def behind(proof: Proof, keyring: Keyring) -> Failure | None:
    """Return why an address that answers is not minted for under the current epoch; None if it is, or says nothing."""
    current = keyring.current.number
    if proof.accepts and proof.mints not in {epoch.number for epoch in keyring.epochs}:
        return Failure(Cause.KEYS_BEHIND, "it mints under an epoch that is not alive, or gives no cookies")
    if proof.accepts and current not in proof.accepts:
        return Failure(Cause.KEYS_BEHIND, f"it accepts epoch {max(proof.accepts)}, not {current}")
    return None


def standing(proof: Proof) -> tuple[frozenset[int], int | None]:
    """Return what of a proof decides under which epoch is minted: equal ones change nothing for clients."""
    return frozenset(proof.accepts), proof.mints


def obstacles(keyring: Keyring, proofs: Iterable[tuple[str, Proof]], life: float, now: float) -> dict[str, str]:
    """Return the backends for which a rotation now would break a promise, each with the reason; empty if it is safe.

    The promise is that a cookie can be spent for `life` seconds after it was handed out. The rotation makes backends
    forget the oldest epoch of their key files, so no cookie of that epoch may have come into the world within `life`.
    A backend that has proved nothing for twice `life` has no such cookies left, even if it handed out some after its
    last probe: a dead server holds nobody up for ever. A gateway that has just begun to watch does not know, and waits.
    """
    forgotten, oldest_kept = keyring.epochs[0].number, keyring.epochs[1].number
    if forgotten < keyring.first:
        return {}
    found: dict[str, str] = {}
    for name, proof in proofs:
        if now - proof.seen > 2 * life:
            continue
        since = proof.reached.get(oldest_kept)
        if since is None:
            found[name] = f"it has not loaded epoch {oldest_kept} or a newer one"
        elif now - since < life:
            found[name] = f"cookies of epoch {forgotten} may be in use for another {life - (now - since):.0f} s"
    return found


def _advance(proof: Proof, keyring: Keyring, now: float) -> Proof:
    """Return the proof with `reached` brought up to date, and without epochs that are gone."""
    alive = {epoch.number for epoch in keyring.epochs}
    accepts = MappingProxyType({number: since for number, since in proof.accepts.items() if number in alive})
    ours = mint_epoch(keyring, [replace(proof, accepts=accepts)])
    newest = -1 if ours is None or proof.mints is None else min(ours.number, proof.mints)
    reached = {number: since for number, since in proof.reached.items() if number in alive and number <= newest}
    for number in alive:
        if number <= newest:
            reached.setdefault(number, now)
    return replace(proof, accepts=accepts, reached=MappingProxyType(reached))
