"""Whose fault it is when gateways differ about a backend: the backend's, or the network of one gateway.

Each gateway serves by its own probes first. The majority of those that live decides where they differ: what most do
not get an answer from is not given out by the few that do, and what most get an answer from, but one gateway does not,
lies at that gateway's network. One that misses most of what the others see wants no clients: it withdraws.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ntspool.errors import WireError

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one gateway's probes say, by the backends' names: those that answer well, and the others with the cause.

    Who is not probed, or has not been yet, is in neither.
    """

    up: frozenset[str] = frozenset()
    down: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the opinion as gateways share it: one JSON object."""
        told = {"format": _FORMAT, "up": sorted(self.up), "down": dict(sorted(self.down.items()))}
        return json.dumps(told, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gateways together say, in words for people, by the backends' names.

    `outvoted` answer this gateway, but not most; `unreachable` answer most, but not this gateway. `cut_off` says how
    much this one misses, empty if that is not most; `heeded` are the outvoted that are not to be given out.
    """

    outvoted: Mapping[str, str] = field(default_factory=dict)
    unreachable: Mapping[str, str] = field(default_factory=dict)
    heeded: frozenset[str] = frozenset()
    cut_off: str = ""


def decode(data: bytes) -> Opinion:
    """Return what `Opinion.encode` made bytes of; raises WireError."""
    try:
        told = json.loads(data)
        if told["format"] != _FORMAT:
            raise WireError("a gateway's opinion is of another format")
        down = {_word(name): _word(cause) for name, cause in told["down"].items()}
        return Opinion(frozenset(map(_word, told["up"])), down)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WireError("a gateway's opinion is malformed") from error


def judge(own: Opinion, others: Mapping[str, Opinion], share: float) -> Verdict:
    """Return the verdict over this gateway's opinion and those of the others that live, by their names.

    When more than `share` (0 to 1) of what answers this gateway is outvoted, none of it is heeded: a pool is not
    emptied by hearsay. Two gateways are no majority for one another; but one that misses most of what the other sees,
    and sees less, is taken to be the one that is cut off.
    """
    everyone = [own, *others.values()]
    ups = Counter(name for each in everyone for name in each.up)
    downs = Counter(name for each in everyone for name in each.down)
    outvoted, unreachable = {}, {}
    for name in sorted(own.up):
        if downs[name] > ups[name]:
            causes = sorted(gateway for gateway, each in others.items() if name in each.down)
            outvoted[name] = f"does not answer {downs[name]} of {ups[name] + downs[name]} gateways: {', '.join(causes)}"
    for name, cause in sorted(own.down.items()):
        if ups[name] > downs[name]:
            unreachable[name] = f"answers {ups[name]} of {ups[name] + downs[name]} gateways, but here: {cause}"
    few = len(outvoted) <= share * len(own.up) and len(outvoted) < len(own.up)
    heeded = frozenset(outvoted if few else ())
    return Verdict(outvoted, unreachable, heeded, _cut_off(own, others, share))


def _cut_off(own: Opinion, others: Mapping[str, Opinion], share: float) -> str:
    """Return how much of what the others see, or half of them, does not answer here, if that is most of it."""
    ups = Counter(name for each in others.values() for name in each.up)
    downs = Counter(name for each in others.values() for name in each.down)
    known = own.up | own.down.keys()
    # Of two others that differ, the one that sees is believed: nobody sees what is not there.
    seen = {name for name in ups if ups[name] >= downs[name] and name in known}
    missed = seen - own.up
    if not seen or len(missed) <= share * len(seen) or len(own.up) >= len(seen):
        return ""
    return f"{len(missed)} of {len(seen)} backends that answer the other gateways do not answer this one"


def _word(value: object) -> str:
    if not isinstance(value, str) or len(value) > 256:
        raise ValueError("no word")
    return "".join(each if each.isprintable() else " " for each in value)
