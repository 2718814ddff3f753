"""Reads what probes have found from the database."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from math import ceil
from pathlib import Path
from typing import Any

from ntspool.errors import StateError, WireError
from ntspool.net.historyschema import GOOD, HOUR, WAS_UP, open_to_read
from ntspool.pool.history import SPAN, History
from ntspool.pool.observation import Measured, Observation, Where
from ntspool.pool.tally import Hour
from ntspool.pool.view import EventView

_MOST_REMEMBERED = 300_000
"""Probes that are read for the status page, at most: those of two hundred addresses, in some seconds."""

_PROBES = """
SELECT time, target, state, cause, held, "offset", pool, uncertainty, delay, source FROM probe
WHERE time >= ? AND time < ? AND (? OR target IN (SELECT value FROM json_each(?))) ORDER BY time, target
"""
_HOURS = """
SELECT start, target, probes, good, observed, up, causes, sources, "offset", pool, uncertainty, bound FROM hour
WHERE start >= ? AND start < ? AND (? OR target IN (SELECT value FROM json_each(?))) ORDER BY start, target
"""


class _Numbered:
    """What the rows' numbers stand for: addresses, sources and causes; `chosen` are the parameters of a query for some.

    Faster than joins: a report reads millions of rows.
    """

    def __init__(self, database: sqlite3.Connection, names: Sequence[str]) -> None:
        self.targets = {number: Where(*rest) for number, *rest in database.execute("SELECT * FROM target")}
        self.sources = {number: tuple(rest) for number, *rest in database.execute("SELECT * FROM source")}
        self.causes: dict[int | None, str] = dict(database.execute("SELECT id, word FROM cause").fetchall())
        self.causes[None] = ""
        ours = [number for number, where in self.targets.items() if where.backend in names]
        self.chosen = (not names, json.dumps(ours))


def observations(
    database: sqlite3.Connection, start: int, end: int, names: Sequence[str] = ()
) -> Iterator[Observation]:
    """Yield the probes from `start` until before `end`, in Unix milliseconds, the oldest first.

    Those of backends with these `names`, all if there are none.
    """
    known = _Numbered(database, names)
    targets, sources, causes = known.targets, known.sources, known.causes
    for time, target, state, cause, held, *found, source in database.execute(_PROBES, (start, end, *known.chosen)):
        measured = None if source is None else _measured(found, sources[source])
        good, was_up = bool(state & GOOD), bool(state & WAS_UP)
        yield Observation(targets[target], time / 1000, good, causes[cause], was_up, held / 1000, measured)


def hours(
    database: sqlite3.Connection, start: int, end: int, names: Sequence[str] = ()
) -> Iterator[tuple[int, Where, Hour]]:
    """Yield the hours that begin from `start` until before `end`, in Unix seconds, with their beginnings.

    Those of backends with these `names`, all if there are none. Raises WireError for one that is damaged.
    """
    known = _Numbered(database, names)
    for began, target, probes, good, observed, up, *more in database.execute(_HOURS, (start, end, *known.chosen)):
        causes, followed, *packed = more
        try:
            counted = tuple((str(cause), int(count)) for cause, count in json.loads(causes or "[]"))
            sources = tuple((*known.sources[source], int(count)) for source, count in json.loads(followed or "[]"))
            hour = Hour(probes, good, observed / 1000, up / 1000, counted, sources, *map(_blob, packed))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise WireError(f"a damaged hour: {error!r}") from error
        yield began, known.targets[target], hour


class HistoryReader:
    """The database at `path` as it is when this is made, whether a gateway writes it or not; `close` it in the end.

    Times are Unix seconds. Every method raises StateError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = open_to_read(path)
        # One picture for all questions: what becomes an hour meanwhile is neither missed nor counted twice.
        self._database.execute("BEGIN")

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def since(self) -> float | None:
        """Return when the oldest of what is there was, None if nothing is."""
        (since,) = self._one(
            "SELECT min(began) FROM (SELECT min(time) / 1000.0 AS began FROM probe "
            "UNION ALL SELECT min(start) FROM hour)"
        )
        return None if since is None else float(since)

    def backends(self) -> set[str]:
        """Return the names of all backends of which anything is, or was, recorded."""
        with self._telling():
            return {name for (name,) in self._database.execute("SELECT backend FROM target")}

    def first_probe(self) -> float | None:
        """Return when the oldest probe that is kept singly was; what is older is in hours."""
        (first,) = self._one("SELECT min(time) FROM probe")
        return None if first is None else first / 1000

    def probes(self, start: float, end: float, names: Sequence[str] = ()) -> Iterator[Observation]:
        """Yield the probes from `start` until before `end`, the oldest first, of these backends if any are named."""
        with self._telling():
            yield from observations(self._database, round(start * 1000), round(end * 1000), names)

    def hours(self, start: float, end: float, names: Sequence[str] = ()) -> Iterator[tuple[int, Where, Hour]]:
        """Yield the hours that lie wholly between, with their beginnings, of these backends if any are named."""
        with self._telling():
            yield from hours(self._database, ceil(start), int(end) - HOUR + 1, names)

    def count(self, start: float, end: float) -> int:
        """Return how many single probes there are from `start` until before `end`."""
        (count,) = self._one("SELECT count(*) FROM probe WHERE time >= ? AND time < ?", start * 1000, end * 1000)
        return int(count)

    def events(self, start: float, end: float) -> list[EventView]:
        """Return the events from `start` until before `end`, the oldest first, numbered by the database."""
        query = "SELECT * FROM event WHERE time >= ? AND time < ? ORDER BY time, id"
        with self._telling():
            rows = self._database.execute(query, (start * 1000, end * 1000)).fetchall()
        return [EventView(number, time / 1000, *words) for number, time, *words in rows]

    def _one(self, query: str, *values: float) -> tuple[Any, ...]:
        with self._telling():
            return tuple(self._database.execute(query, values).fetchone())

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, WireError, LookupError, TypeError) as error:
            raise StateError(f"{self._path} cannot be read: {error}") from error


def remembered(path: Path, now: float) -> History:
    """Return what the plots of the status page show of the hours before `now`, in Unix seconds.

    Of a large pool, of which that would take long, nothing. Raises StateError.
    """
    history, start = History(), now - SPAN
    with closing(HistoryReader(path)) as reader:
        if reader.count(start, now) <= _MOST_REMEMBERED:
            for seen in reader.probes(start, now):
                history.recall(seen)
    return history


def _blob(value: object) -> bytes:
    # SQLite keeps anything in any column.
    if not isinstance(value, bytes):
        raise TypeError("a series that is no blob")
    return value


def _measured(found: Sequence[Any], source: tuple[Any, ...]) -> Measured:
    offset, pool, uncertainty, delay = found
    return Measured(offset / 1e9, None if pool is None else pool / 1e9, uncertainty / 1e9, delay / 1e9, *source)
