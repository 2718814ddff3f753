"""Writes what probes have found into the database, makes hours of what is old, and forgets what is older."""

import json
import sqlite3
from collections.abc import Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ntspool.errors import WireError
from ntspool.net.historyreader import hours, observations
from ntspool.net.historyschema import GOOD, HOUR, WAS_UP, open_to_write
from ntspool.pool.observation import Observation, Where
from ntspool.pool.tally import Hour, Source, Tally
from ntspool.pool.view import EventView

_DAY = 86400
_AT_ONCE = 4
"""Hours or days that are tidied in one go, at most: what waits for longer is done by and by."""

_MOST_KNOWN = 20_000
"""Numbers of rows that are remembered: a server may name another reference with each answer."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """For how many seconds anything is kept (None: nothing is), for how many single probes are, and bytes in all."""

    keep: float | None
    probes: float
    size: int


class HistoryWriter:
    """The database at `path` for one writer, opened when it is first needed, in whatever thread.

    Every method raises StateError, sqlite3.Error or OSError, and leaves what is on disk whole; what was to be written
    can be tried again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None
        self._known: dict[tuple[str, Hashable], int] = {}

    def write(self, probes: Sequence[Observation], events: Sequence[EventView]) -> None:
        """Write all of this or nothing."""
        database = self._begin()
        with _Transaction(self, database):
            database.executemany(
                "INSERT OR REPLACE INTO probe VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", map(self._probe, probes)
            )
            told = (
                (round(each.time * 1000), each.event, each.level, each.subject, each.cause, each.before, each.after)
                for each in events
            )
            database.executemany("INSERT INTO event VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", told)

    def tidy(self, now: float, bounds: Bounds) -> bool:
        """Make hours of old probes, and forget what is too old or too much; `now` in Unix seconds.

        Returns whether there is more to do, which waits for the next call.
        """
        database = self._begin()
        for _ in range(_AT_ONCE):
            oldest = self._oldest_hour(database)
            if oldest is None or oldest + HOUR > now - bounds.probes:
                break
            self._fold(database, oldest)
        else:
            return True
        if bounds.keep is not None:
            self._forget(database, now - bounds.keep)
        left = _AT_ONCE
        while left and self.size() > bounds.size and self._shrink(database, now):
            left -= 1
        return left == 0

    def size(self) -> int:
        """Return how many bytes of the database are in use."""
        database = self._begin()
        pages, free, length = (
            database.execute(f"PRAGMA {each}").fetchone()[0] for each in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * length)

    def close(self) -> None:
        """Close the database; whatever is called next opens it anew."""
        database, self._database = self._database, None
        self._known = {}
        if database is not None:
            database.close()

    def _begin(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = open_to_write(self._path)
        return self._database

    def _probe(self, seen: Observation) -> tuple[int | None, ...]:
        found = seen.measured
        cause = self._id("cause", "word", (seen.cause,)) if seen.cause else None
        row = (
            round(seen.time * 1000),
            self._id("target", "backend, address, port", seen.where),
            GOOD * seen.good | WAS_UP * seen.was_up,
            cause,
            round(seen.held * 1000),
        )
        if found is None:
            return (*row, None, None, None, None, None)
        source = self._id("source", "stratum, leap, reference", (found.stratum, found.leap, found.reference))
        return (*row, source, *map(_nanoseconds, (found.offset, found.pool, found.uncertainty, found.delay)))

    def _id(self, table: str, columns: str, values: tuple[str | int, ...] | Where) -> int:
        """Return the number of a row that may have to be made first; table and columns are literals of ours."""
        if (known := self._known.get((table, values))) is not None:
            return known
        database = self._begin()
        marks = ", ".join("?" for _ in values)
        database.execute(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})", values)  # noqa: S608
        query = f"SELECT id FROM {table} WHERE ({columns}) = ({marks})"  # noqa: S608
        (found,) = database.execute(query, values).fetchone()
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[table, values] = found
        return int(found)

    def _oldest_hour(self, database: sqlite3.Connection) -> int | None:
        """Return when the hour of the oldest probe began."""
        (oldest,) = database.execute("SELECT min(time) FROM probe").fetchone()
        return None if oldest is None else oldest // 1000 // HOUR * HOUR

    def _fold(self, database: sqlite3.Connection, start: int) -> None:
        """Put one hour of each address in place of its probes in it."""
        span = (start * 1000, (start + HOUR) * 1000)
        with _Transaction(self, database):
            tallies: dict[Where, Tally] = {}
            with suppress(WireError):  # what is damaged makes way
                for _, where, hour in hours(database, start, start + 1):
                    tallies.setdefault(where, Tally(exact=False)).absorb(hour)
            for seen in observations(database, *span):
                tallies.setdefault(seen.where, Tally(exact=False)).add(seen)
            rows = [self._hour(start, where, tally.hour()) for where, tally in tallies.items()]
            marks = ", ".join("?" * 12)
            database.executemany(f"INSERT OR REPLACE INTO hour VALUES ({marks})", rows)  # noqa: S608
            database.execute("DELETE FROM probe WHERE time >= ? AND time < ?", span)

    def _hour(self, start: int, where: Where, hour: Hour) -> tuple[object, ...]:
        sources = [
            (self._id("source", "stratum, leap, reference", Source(stratum, leap, name)), count)
            for stratum, leap, name, count in hour.sources
        ]
        return (
            start,
            self._id("target", "backend, address, port", where),
            hour.probes,
            hour.good,
            *(round(each * 1000) for each in (hour.observed, hour.up)),
            *(json.dumps(each, separators=(",", ":")) if each else "" for each in (hour.causes, sources)),
            *(hour.offset, hour.pool, hour.uncertainty, hour.bound),
        )

    def _forget(self, database: sqlite3.Connection, before: float) -> None:
        with _Transaction(self, database):
            database.execute("DELETE FROM probe WHERE time < ?", (round(before * 1000),))
            database.execute("DELETE FROM hour WHERE start < ?", (before - HOUR,))
            database.execute("DELETE FROM event WHERE time < ?", (round(before * 1000),))

    def _shrink(self, database: sqlite3.Connection, now: float) -> bool:
        """Make less of the oldest; return whether there was anything to make less of."""
        oldest = self._oldest_hour(database)
        if oldest is not None and oldest + HOUR <= now:
            self._fold(database, oldest)
            return True
        starts = database.execute("SELECT min(start) FROM hour UNION ALL SELECT min(time) / 1000 FROM event")
        known = [each for (each,) in starts if each is not None]
        if not known:
            return False
        self._forget(database, min(known) + _DAY)
        return True


class _Transaction:
    """One transaction of a writer; what breaks it closes the database, for the memory of its rows is not to be had."""

    def __init__(self, writer: HistoryWriter, database: sqlite3.Connection) -> None:
        self._writer = writer
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._database.execute("COMMIT")
                return
        except BaseException:
            self._writer.close()
            raise
        self._writer.close()


def _nanoseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e9)
