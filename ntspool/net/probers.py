"""Who probes what: backends that share their keys, and those that keep them."""

from collections.abc import Callable, Sequence

from ntspool.net.fixedkeyprobe import FixedKeyProber
from ntspool.net.probe import Prober
from ntspool.pool.fleet import Target
from ntspool.pool.keyring import Keyring
from ntspool.pool.model import FixedKey
from ntspool.pool.proofs import Proof
from ntspool.pool.sample import Limits
from ntspool.wire.aead import Aead


def prober_for(
    target: Target,
    aeads: Sequence[Aead],
    keyring: Keyring,
    proof: Proof,
    *,
    healthy: bool,
    limits: Limits,
    timeout: float,
    clock: Callable[[], float],
) -> Prober | FixedKeyProber:
    """Return what probes `target` once; see Prober for the arguments."""
    if isinstance(target.cookies, FixedKey):
        return FixedKeyProber(target, target.cookies, aeads, limits=limits, timeout=timeout, clock=clock)
    return Prober(target, aeads, keyring, proof, healthy=healthy, limits=limits, timeout=timeout, clock=clock)
