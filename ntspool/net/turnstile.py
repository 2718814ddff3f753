"""The restart turn in the store, so that all gateways of a pool hand out one and the same."""

from collections.abc import Callable
from typing import Final

from ntspool.errors import ConflictError
from ntspool.net.store import Store
from ntspool.pool import turns
from ntspool.pool.turns import Turn

ENTRY = "turn"

TURN_LIFE: Final = 120.0
"""Seconds that a backend has for restarting its daemon and proving that it works."""

_ATTEMPTS = 20


def ask(store: Store, backend: str, now: float) -> bool:
    """Give `backend` the turn at Unix time `now` if nobody else has it; tell whether it got it. Raises StateError."""
    return _change(store, lambda held: turns.ask(held, backend, now, TURN_LIFE)) is not None


def give_back(store: Store, backend: str, now: float) -> None:
    """End the turn of `backend`, if it has it. Raises StateError."""
    _change(store, lambda held: turns.give_back(held, backend, now))


def _change(store: Store, step: Callable[[Turn | None], Turn | None]) -> Turn | None:
    """Keep what `step` makes of the turn; None, and a turn that stays as it was, are not written."""
    for _ in range(_ATTEMPTS):
        kept = store.get(ENTRY)
        held = None if kept is None else turns.decode(kept[0])
        after = step(held)
        if after is None or after == held:
            return after
        try:
            store.put_if(ENTRY, after.encode(), None if kept is None else kept[1])
        except ConflictError:
            continue
        return after
    raise ConflictError(f"the entry {ENTRY} of the state directory changes all the time; see who writes it")
