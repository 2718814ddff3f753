"""Who may restart its daemon now: one backend of the pool at a time."""

import json
from dataclasses import asdict, dataclass
from math import isfinite

from ntspool.errors import StateError


@dataclass(frozen=True, slots=True)
class Turn:
    """The turn that backend `holder` has until Unix time `expires`."""

    holder: str
    expires: float

    def encode(self) -> bytes:
        """Return the turn as it is kept in the store: JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"


def ask(held: Turn | None, backend: str, now: float, life: float) -> Turn | None:
    """Return the turn, good for `life` seconds, that `backend` gets at Unix time `now`; None when another has it.

    The holder gets it anew: its daemon may take two restarts. A turn that was never given back ends by itself, and
    one that ends far ahead counts for nothing: no skew between two gateways explains it, the clock was set back.
    """
    if held is not None and held.holder != backend and now < held.expires <= now + 2 * life:
        return None
    return Turn(backend, now + life)


def give_back(held: Turn | None, backend: str, now: float) -> Turn | None:
    """Return the turn after `backend` says at Unix time `now` that it is done: ended, or untouched if not its own."""
    if held is None or held.holder != backend:
        return held
    return Turn(backend, min(held.expires, now))


def decode(data: bytes) -> Turn:
    """Return the turn kept in `data`; raises StateError when it is damaged."""
    try:
        kept = json.loads(data)
        turn = Turn(kept["holder"], float(kept["expires"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise StateError("the entry of the restart turn is damaged; remove it") from error
    if not isinstance(turn.holder, str) or not isfinite(turn.expires):
        raise StateError("the entry of the restart turn is damaged; remove it")
    return turn
