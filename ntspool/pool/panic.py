"""When most of the pool falls silent at once, suspect ourselves: Envoy's panic threshold."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """How one check of a backend stands: is it UP, and since when has it been silent, if it was UP then."""

    backend: str
    up: bool
    silent_since: float | None


def panics(standings: Iterable[Standing], share: float, since: float) -> bool:
    """Tell whether more than `share` (0 to 1) of the backends believed good have fallen silent.

    To be called with the standings of one address family, for it is one network that fails. Believed good is who is
    UP, and who was until it fell silent after `since`, the beginning of the round: who has been DOWN for longer, or by
    evidence, is not counted. A backend is silent if nothing of it answers.
    """
    answering, silent = set(), set()
    for each in standings:
        if each.silent_since is None:
            if each.up:
                answering.add(each.backend)
        elif each.up or each.silent_since >= since:
            silent.add(each.backend)
    silent -= answering
    return len(silent) > share * (len(silent) + len(answering))
