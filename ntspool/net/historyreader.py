"""Reads what probes have found from the database."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

from ntspool.errors import StateError, WireError
from ntspool.net.historyschema import GOOD, HOUR, WAS_UP, open_to_read
from ntspool.pool.observation import Measured, Observation, Where
from ntspool.pool.tally import Hour
from ntspool.pool.view import EventView

_PROBES = """
SELECT backend, address, port, time, state, coalesce(word, ''), held,
  "offset", pool, uncertainty, delay, stratum, leap, reference
FROM probe JOIN target ON target.id = target LEFT JOIN source ON source.id = source LEFT JOIN cause ON cause.id = cause
WHERE time >= ? AND time < ? ORDER BY time
"""
_HOURS = """
SELECT start, backend, address, port, probes, good, observed, up, causes, sources, "offset", pool, uncertainty, bound
FROM hour JOIN target ON target.id = target WHERE start >= ? AND start < ? ORDER BY start
"""


def observations(database: sqlite3.Connection, start: int, end: int) -> Iterator[Observation]:
    """Yield the probes from `start` until before `end`, in Unix milliseconds, the oldest first."""
    wheres: dict[tuple[str, str, int], Where] = {}
    for backend, address, port, time, state, cause, held, *found in database.execute(_PROBES, (start, end)):
        key = (backend, address, port)
        where = wheres.get(key) or wheres.setdefault(key, Where(*key))
        measured = _measured(found)
        yield Observation(where, time / 1000, bool(state & GOOD), cause, bool(state & WAS_UP), held / 1000, measured)


def hours(database: sqlite3.Connection, start: int, end: int) -> Iterator[tuple[int, Where, Hour]]:
    """Yield the hours that begin from `start` until before `end`, in Unix seconds, with their beginnings.

    Raises WireError for one that is damaged.
    """
    sources = {each: tuple(source) for each, *source in database.execute("SELECT * FROM source")}
    for began, backend, address, port, probes, good, observed, up, *more in database.execute(_HOURS, (start, end)):
        causes, followed, *packed = more
        try:
            counted = tuple((str(cause), int(count)) for cause, count in json.loads(causes or "[]"))
            known = tuple((*sources[source], int(count)) for source, count in json.loads(followed or "[]"))
        except (ValueError, TypeError, KeyError) as error:
            raise WireError(f"a damaged hour: {error!r}") from error
        hour = Hour(probes, good, observed / 1000, up / 1000, counted, known, *packed)
        yield began, Where(backend, address, port), hour


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

    def first_probe(self) -> float | None:
        """Return when the oldest probe that is kept singly was; what is older is in hours."""
        (first,) = self._one("SELECT min(time) FROM probe")
        return None if first is None else first / 1000

    def probes(self, start: float, end: float) -> Iterator[Observation]:
        """Yield the probes from `start` until before `end`, the oldest first."""
        with self._telling():
            yield from observations(self._database, round(start * 1000), round(end * 1000))

    def hours(self, start: float, end: float) -> Iterator[tuple[int, Where, Hour]]:
        """Yield the hours that lie wholly between, with their beginnings."""
        with self._telling():
            yield from hours(self._database, ceil(start), int(end) - HOUR + 1)

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
        except (sqlite3.Error, WireError) as error:
            raise StateError(f"{self._path} cannot be read: {error}") from error


def _measured(found: Sequence[Any]) -> Measured | None:
    offset, pool, uncertainty, delay, *source = found
    if offset is None:
        return None
    return Measured(offset / 1e9, None if pool is None else pool / 1e9, uncertainty / 1e9, delay / 1e9, *source)
