"""The names that clients ask for, and what each means: the pool, a group, one backend, and a slot of either.

A slot is the leading label `0.` to `9.` before a pool's or a group's name: a client that configures four of them
gets four different backends.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

SLOTS = 10
"""Slots under every pool's and group's name, `0.` to `9.`; NTP clients seldom take more than four servers."""


class Asked(NamedTuple):
    """What a client's server name asks for; all is empty for the pool itself, and for a name that is not ours."""

    pin: str = ""
    group: str = ""
    slot: int | None = None


NOTHING = Asked()


@dataclass(frozen=True, slots=True)
class Names:
    """Every name of the configuration, in lower case: the pool's, those of single backends and those of groups.

    `pins` and `groups` lead to backends by name.
    """

    pools: tuple[str, ...] = ()
    pins: Mapping[str, str] = field(default_factory=dict, hash=False)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    def asked(self, server_name: str) -> Asked:
        """Return what `server_name`, in lower case, asks for."""
        if server_name in self.pins:
            return Asked(pin=self.pins[server_name])
        if server_name in self.groups:
            return Asked(group=server_name)
        slot, _, rest = server_name.partition(".")
        # Never int() alone: it takes digits of every script.
        if len(slot) != 1 or slot not in "0123456789" or server_name in self.pools:
            return NOTHING
        if rest in self.groups:
            return Asked(group=rest, slot=int(slot))
        return Asked(slot=int(slot)) if rest in self.pools else NOTHING


def slots_of(name: str) -> tuple[str, ...]:
    """Return the slot names under a pool's or a group's name."""
    return tuple(f"{slot}.{name}" for slot in range(SLOTS))
