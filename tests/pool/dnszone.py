"""A zone that takes updates as RFC 2136 has them, without a server around it."""

from dataclasses import dataclass, field

from ntspool.pool.publishing import Found, Key


@dataclass
class Zone:
    """What the server of a zone holds; it does one update as a whole or not at all."""

    zone: dict[Key, set[str]] = field(default_factory=dict)
    ttls: dict[Key, int] = field(default_factory=dict)

    def read(self, keys):
        names = {key.name for key, values in self.zone.items() if values}
        return {key: Found(frozenset(self.zone.get(key, ())), self.ttls.get(key, 0), key.name in names) for key in keys}

    def change(self, change, ttl=60):
        there = self.zone.setdefault(change.key, set())
        if change.expected == frozenset() and any(self.zone[key] for key in self.zone if key.name == change.key.name):
            return False
        if change.expected and there != change.expected:
            return False
        there -= change.removes
        there |= change.adds
        if change.adds:
            self.ttls[change.key] = ttl
        return True
