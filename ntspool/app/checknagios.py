"""`ntspool check --nagios`: one line and an exit status, as monitoring plugins have them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from ntspool.app.tables import span
from ntspool.pool.exam.model import Examination, Verdict

_REFUSED = ("ke.cookie-lengths",)
"""What is worth a warning as a NOTE already: all clients of one kind refuse the service."""


class Status(IntEnum):
    """How a service is, by the exit status that says so."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on a service is worth a warning, and from where on critical, as pairs.

    `days_left` (of the certificate) and `servers` (with good time) are the least that is well; `offset` (of any server
    from this machine), `root_distance` and `ke_time` (of a whole session), in seconds, the most.
    """

    days_left: tuple[float, float] = (14.0, 3.0)
    servers: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.1, 1.0)
    root_distance: tuple[float, float] = (1.0, 1.5)
    ke_time: tuple[float, float] = (2.0, 5.0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The line to print, without its line feed, and the status to exit with."""

    status: Status
    line: str


@dataclass(frozen=True, slots=True)
class _Measure:
    """A measured value with its thresholds; `floor` says that less is worse, otherwise more is, of either sign."""

    label: str
    value: float
    unit: str
    limits: tuple[float, float]
    words: str
    floor: bool = False
    signed: bool = False

    @property
    def status(self) -> Status:
        warning, critical = (self._beyond(each) for each in self.limits)
        return Status.CRITICAL if critical else Status.WARNING if warning else Status.OK

    def data(self) -> str:
        """Return it as performance data: value and unit, then the ranges that are well."""
        # No exponents: the guidelines for plugins allow digits, the point and the sign only.
        value = f"{self.value:.9f}".rstrip("0").rstrip(".")
        return f"{self.label}={value}{self.unit};" + ";".join(map(self._range, self.limits))

    def _beyond(self, limit: float) -> bool:
        return self.value < limit if self.floor else abs(self.value) > limit

    def _range(self, limit: float) -> str:
        if self.floor:
            return f"{limit:g}:"
        return f"-{limit:g}:{limit:g}" if self.signed else f"{limit:g}"


def judge(examination: Examination, thresholds: Thresholds) -> Outcome:
    """Weigh an examination: a FAIL is critical, a measured value is what its thresholds say.

    One that had to be broken off without a FAIL says nothing: UNKNOWN.
    """
    measures = list(_measures(examination, thresholds))
    status, words = _weigh(examination, measures)
    told = f"{status.name} - {examination.plan.host}: {'; '.join(words)}"
    return Outcome(status, _line(told, " ".join(each.data() for each in measures)))


def _weigh(examination: Examination, measures: Sequence[_Measure]) -> tuple[Status, Sequence[str]]:
    unfinished = [each.text for each in examination.findings if each.id == f"{each.section}.skipped"]
    if unfinished and not examination.failed:
        return Status.UNKNOWN, unfinished[:1]
    refused = [each for each in examination.findings if each.id in _REFUSED and each.verdict is Verdict.NOTE]
    status = max(
        [
            Status.CRITICAL if examination.failed else Status.WARNING if refused else Status.OK,
            *(each.status for each in measures),
        ]
    )
    told = (*examination.failed, *refused)
    troubles = [f"{each.text}{f' ({each.address})' if each.address else ''}" for each in told]
    troubles += [each.words for each in measures if each.status]
    return status, troubles or [each.words for each in measures]


def unknown(reason: str) -> Outcome:
    """Return what to say of a service that could not be examined."""
    return Outcome(Status.UNKNOWN, _line(f"{Status.UNKNOWN.name} - {reason}", ""))


def _line(told: str, data: str) -> str:
    # What comes after the bar is performance data, and only the first line is read.
    spelt = "".join(each if each.isprintable() and each != "|" else "?" for each in told)
    return f"NTS {spelt} | {data}" if data else f"NTS {spelt}"


def _measures(examination: Examination, thresholds: Thresholds) -> Iterator[_Measure]:
    answering = [each for each in examination.servers if each.offset is not None]
    servers = len(answering)
    yield _Measure(
        "servers", servers, "", thresholds.servers, f"{servers} server{'' if servers == 1 else 's'}", floor=True
    )
    if (
        offset := max((each.offset for each in answering if each.offset is not None), key=abs, default=None)
    ) is not None:
        yield _Measure("offset", offset, "s", thresholds.offset, f"offset {span(offset, signed=True)}", signed=True)
    distances = [each.root_distance for each in answering if each.root_distance is not None]
    if distances:
        worst = max(distances)
        yield _Measure("root_distance", worst, "s", thresholds.root_distance, f"root distance {span(worst)}")
    if examination.certificates:
        days = min(each.days_left for each in examination.certificates)
        yield _Measure(
            "days_left",
            days,
            "",
            thresholds.days_left,
            f"certificate good for {days:.{0 if days >= 10 else 1}f} days",
            floor=True,
        )
    sessions = [each.elapsed for each in examination.aeads if each.accepted and each.elapsed is not None]
    if sessions:
        slowest = max(sessions)
        yield _Measure("ke_time", slowest, "s", thresholds.ke_time, f"key exchange {span(slowest)}")
