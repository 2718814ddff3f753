"""Which backend stands in which slot of a client.

Each slot has an order of its own. Among all that are declared, slot 0 takes its first; slot 1 its first that slot 0 has
not taken, and so on: they hold their slots, UP or not. Where the holder cannot be given out, the slot goes to the next
in its order that holds no slot; only when there are none left, to a holder of another slot, the last slots' first,
because few clients ask for those. So a backend that goes DOWN moves only clients that it was given to, and slots 0 to
n - 1 differ as long as n backends can be given out. Taking a declared holder away can move one other slot of the same
client, namely when the next in order held that: no rule without memory gives three slots or more and can help it.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator

from ntspool.pool.names import SLOTS

Order = Callable[[int], Iterator[str]]
"""Takes a slot and yields backends' names in the client's order for it, each once or more often."""


def in_slot(slot: int, declared: Order, eligible: Collection[str], order: Order) -> str:
    """Return the name of the backend in a client's slot.

    `declared` orders all backends, `order` those in `eligible`, the ones that can be given out; there is at least one.
    With fewer declared than slots, slots go round.
    """
    holders = _holders(declared, slot + 1)
    slot %= len(holders)
    if holders[slot] in eligible:
        return holders[slot]
    holders = _holders(declared, SLOTS)
    taken = {name for name in holders if name in eligible}
    others = deque(name for name in reversed(holders) if name in eligible)
    for index in range(slot + 1):
        name = holders[index]
        if name not in eligible:
            free = len(taken) < len(eligible)
            name = next(each for each in order(index) if each not in taken) if free else others.popleft()
            taken.add(name)
            others.append(name)
    return name


def _holders(declared: Order, count: int) -> list[str]:
    holders: list[str] = []
    for slot in range(count):
        name = next((each for each in declared(slot) if each not in holders), None)
        if name is None:
            break
        holders.append(name)
    return holders
