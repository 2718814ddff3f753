"""Makes a report from the history that a gateway has kept."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from ntspool import __version__
from ntspool.errors import LocalError, StateError, WireError
from ntspool.net.historyreader import HistoryReader
from ntspool.pool.report import Examiner, Period, Report, about

MOST_EXACT = 5_000_000
"""Single probes that are kept in memory to be counted exactly; with more of them, figures are right to 5 %."""


def report(path: Path, period: Period, limits: Sequence[float], names: Sequence[str], now: float) -> Report:
    """Return the report on the backends of these `names`, all if there are none; `now` in Unix seconds.

    Raises LocalError when there is no history at `path`, or no such backend in it.
    """
    with closing(HistoryReader(path)) as reader:
        examiner = examine(reader, period, names)
        every = examiner.addresses(limits)
        known = reader.backends()
        if unknown := sorted(set(names) - known):
            raise LocalError(f"nothing was ever recorded of {', '.join(unknown)}; there are {', '.join(sorted(known))}")
        since = reader.since()
        return Report(
            version=__version__,
            made=now,
            period=period,
            since=None if since is None else max(since, period.start),
            limits=tuple(limits),
            step=examiner.step,
            addresses=every,
            events=about(reader.events(period.start, period.end), names, known),
        )


def examine(reader: HistoryReader, period: Period, names: Sequence[str] = ()) -> Examiner:
    """Return an examiner that has counted all of a period; raises StateError."""
    single = reader.first_probe()
    hourly = single is None or period.start < single
    exact = reader.count(period.start, period.end) <= MOST_EXACT
    examiner = Examiner(period, exact=exact, hourly=hourly)
    try:
        for start, where, hour in reader.hours(period.start, period.end, names) if hourly else ():
            examiner.absorb(start, where, hour)
    except WireError as error:
        raise StateError(f"the history is damaged: {error}") from error
    for seen in reader.probes(period.start, period.end, names):
        examiner.add(seen)
    return examiner
