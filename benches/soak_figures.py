"""What the soak writes down, and what it makes of it: nothing here measures anything."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby, pairwise
from statistics import median

Row = Mapping[str, float]

MEMORY = {"control": 4.0, "worker": 4.0, "agents": 12.0, "timeservers": 4.0, "chronyds": 4.0}
"""MiB by which the memory of processes may grow during the run; there are twelve agents, others are one or few."""

TAKEN = 0.3
"""The part of the core that others must have had in ten seconds for clients to be turned away: then less is left than
the load is meant to be."""

DESCRIPTORS = 1.0
"""By how much the least of their descriptors may grow from the first to the last quarter after the warm-up.

The least, because each session that is open has one, and there is always a moment when hardly any is.
"""

WARM_UP = 1 / 6
"""Part of the run after which growth counts: pools fill and everything has happened once."""

NONE = {
    "failed": "sessions failed",
    "unserved": "sessions neither served nor cut",
    "naks": "NTS NAKs to the verifying clients",
    "lost": "requests without an answer",
    "wrong": "wrong answers",
    "refused": "key exchanges of the verifying clients refused",
    "chrony_naks": "NTS NAKs to chronyd",
    "chrony_rekeys": "key exchanges of chronyd after its first",
    "operations_failed": "operations that went wrong",
}
"""What must stay 0 to the end, and how it is called."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A worker that was killed: when the signal was sent, and when the process was gone, seconds."""

    killed: float
    gone: float

    def explains(self, began: float, ended: float) -> bool:
        """Tell whether a session of that time was open in the worker, or waited for it, when it was killed."""
        return began <= self.gone and self.killed <= ended <= self.gone + 1.0


@dataclass(frozen=True, slots=True)
class Broken:
    """A session that did not end well, as its client saw it: how, whether the server had said anything, and when."""

    kind: str
    answered: bool
    began: float
    ended: float


def count(broken: Sequence[Broken], kills: Sequence[Cut]) -> Counter[str]:
    """Return how many sessions were `cut` by a kill, `turned away` before TLS, and `failed`, which is all others.

    A timeout is never explained: whoever is cut or turned away is told at once by a reset.
    """
    return Counter(_end(each, kills) for each in broken)


def _end(broken: Broken, kills: Sequence[Cut]) -> str:
    if broken.kind not in ("eof", "conn"):
        return "failed"
    if any(each.explains(broken.began, broken.ended) for each in kills):
        return "cut"
    return "failed" if broken.answered else "turned away"


def unfounded(rows: Sequence[Row]) -> float:
    """Return how many clients were turned away while at least the offered share of the core was there for the soak."""
    return sum(
        after["turned_away"] - before["turned_away"]
        for before, after in pairwise(rows)
        # What was turned away at the end of one line was too much in the one before.
        if max(before["others"] + before["stolen"], after["others"] + after["stolen"]) < TAKEN
    )


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return how fast y grows with x by Theil and Sen: the median over all pairs of points, which outliers do not bend.

    At most some 500 points are looked at; 0 for less than two.
    """
    thin = points[:: len(points) // 500 + 1]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(thin, 2) if b[0] > a[0]]
    return median(slopes) if slopes else 0.0


def longest_lived(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of the worker that was the eldest for longest."""
    return max((list(group) for _, group in groupby(rows, key=lambda row: row["worker_pid"])), key=len, default=[])


def growth(rows: Sequence[Row], group: str) -> float:
    """Return the MiB by which a group of processes grew over the whole run, by the slope after the warm-up."""
    if not rows:
        return 0.0
    whole = rows[-1]["seconds"]
    late = [row for row in rows if row["seconds"] >= WARM_UP * whole]
    if group == "worker":
        late = longest_lived(late)
    return slope([(row["seconds"], row[f"{group}_mib"]) for row in late]) * whole


def more_descriptors(rows: Sequence[Row], group: str) -> float:
    """Return how many more descriptors a group had in the last quarter after the warm-up than in the first."""
    late = [row for row in rows if row["seconds"] >= WARM_UP * rows[-1]["seconds"]] if rows else []
    if group == "worker":
        late = longest_lived(late)
    quarter = max(1, len(late) // 4)
    first, last = (min(row[f"{group}_fds"] for row in part) for part in (late[:quarter], late[-quarter:]))
    return last - first


def verdict(rows: Sequence[Row], rotations: int, wanted: int) -> list[tuple[bool, str]]:
    """Return every rule, whether it was kept, with the figures; so many rotations were `wanted`."""
    last = rows[-1]
    rules = [(last[key] == 0, f"{last[key]:.0f} {words}") for key, words in NONE.items()]
    away = unfounded(rows)
    told = f"{away:.0f} clients turned away though the core was ours ({last['turned_away']:.0f} because it was not)"
    rules.append((away == 0, told))
    rules.append((rotations >= wanted, f"{rotations} rotations of {wanted}"))
    for group, bound in MEMORY.items():
        grown = growth(rows, group)
        rules.append((grown < bound, f"{group}: {grown:+.2f} MiB over the run (bound {bound:g})"))
        more = more_descriptors(rows, group)
        rules.append((more <= DESCRIPTORS, f"{group}: {more:+.0f} descriptors (bound {DESCRIPTORS:g})"))
    return rules
