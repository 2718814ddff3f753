"""Which networks may use the gateway at all: chrony's `allow` and `deny`."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Final

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Access:
    """Networks that are let in and networks that are not; the smallest one around a client decides, as in chrony.

    A client in none of them is let in unless `allow` names any network. No network may stand in both.
    """

    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()
    _lengths: tuple[tuple[int, int, dict[int, bool]], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_lengths", tuple(_by_length(self.allow, self.deny)))

    def allows(self, packed: bytes) -> bool:
        """Tell whether the client at this address (4 or 16 bytes, network byte order) may use the gateway."""
        if not self._lengths:
            return True
        size, number = len(packed), int.from_bytes(packed, "big")
        for length, shift, networks in self._lengths:
            if length == size and (verdict := networks.get(number >> shift)) is not None:
                return verdict
        return not self.allow


def _by_length(allow: Iterable[Network], deny: Iterable[Network]) -> Iterable[tuple[int, int, dict[int, bool]]]:
    """Yield address length in bytes, bits to shift out, and the networks of one size; the smallest networks first."""
    sizes: dict[tuple[int, int], dict[int, bool]] = {}
    for networks, verdict in ((allow, True), (deny, False)):
        for each in networks:
            shift = each.max_prefixlen - each.prefixlen
            sizes.setdefault((shift, each.max_prefixlen // 8), {})[int(each.network_address) >> shift] = verdict
    for (shift, length), found in sorted(sizes.items()):
        yield length, shift, found


EVERYBODY: Final = Access()
