"""The SQLite database of what probes have found: its tables, and how it is opened. docs/report.md tells about it."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from ntspool.errors import StateError
from ntspool.net.atomic import owners_only

ENTRY = "history.db"
"""The entry of the state directory."""

SCHEMA = 1
"""The version of the tables, SQLite's user_version: one more whenever they change."""

HOUR = 3600
"""Seconds for which what was probed is kept together when it is old."""

GOOD, WAS_UP = 1, 2
"""The bits of a probe's state."""

_BUSY = 5.0
"""Seconds to wait for whoever else writes."""

# Times are milliseconds (hours: seconds) of Unix time, durations nanoseconds (held, observed, up: milliseconds).
# Without rowids rows lie in the order of their time: what is new is appended, and a period is read in one go.
_TABLES = """
CREATE TABLE target (id INTEGER PRIMARY KEY, backend TEXT NOT NULL, address TEXT NOT NULL, port INTEGER NOT NULL,
  UNIQUE (backend, address, port));
CREATE TABLE source (id INTEGER PRIMARY KEY, stratum INTEGER NOT NULL, leap INTEGER NOT NULL, reference TEXT NOT NULL,
  UNIQUE (stratum, leap, reference));
CREATE TABLE cause (id INTEGER PRIMARY KEY, word TEXT NOT NULL UNIQUE);
CREATE TABLE probe (time INTEGER NOT NULL, target INTEGER NOT NULL, state INTEGER NOT NULL, cause INTEGER,
  held INTEGER NOT NULL, source INTEGER, "offset" INTEGER, pool INTEGER, uncertainty INTEGER, delay INTEGER,
  PRIMARY KEY (time, target)) WITHOUT ROWID;
CREATE TABLE hour (start INTEGER NOT NULL, target INTEGER NOT NULL, probes INTEGER NOT NULL, good INTEGER NOT NULL,
  observed INTEGER NOT NULL, up INTEGER NOT NULL, causes TEXT NOT NULL, sources TEXT NOT NULL, "offset" BLOB NOT NULL,
  pool BLOB NOT NULL, uncertainty BLOB NOT NULL, bound BLOB NOT NULL, PRIMARY KEY (start, target)) WITHOUT ROWID;
CREATE TABLE event (id INTEGER PRIMARY KEY, time INTEGER NOT NULL, event TEXT NOT NULL, level TEXT NOT NULL,
  subject TEXT NOT NULL, cause TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL);
CREATE INDEX event_time ON event (time);
"""


def open_to_write(path: Path) -> sqlite3.Connection:
    """Open the database, made for its owner alone if it is missing; any one thread at a time may use it.

    Raises StateError, sqlite3.Error or OSError.
    """
    _make(path)
    database = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        # A power failure may cost the last minute, never the rest; what a killed process wrote stays.
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA journal_size_limit = 16777216")
        if _version(database, path) == 0:
            database.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {SCHEMA}; COMMIT")
    except BaseException:
        database.close()
        raise
    return database


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open the database to read it, whether a gateway writes it or not; raises StateError with what to do."""
    if not path.exists():
        raise StateError(f"there is no history at {path}; a gateway writes it as it probes, unless history.keep is off")
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY, isolation_level=None)
        try:
            _refuse_empty(database, path)
        except BaseException:
            database.close()
            raise
    except sqlite3.Error as error:
        raise StateError(f"{path} cannot be read: {error}") from error
    return database


def _refuse_empty(database: sqlite3.Connection, path: Path) -> None:
    if _version(database, path) == 0:
        raise StateError(f"{path} has no tables yet; wait until the gateway has probed")


def _make(path: Path) -> None:
    """Make an empty file for nobody but the owner of its folder, as SQLite would not; its others get the same mode."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    access = owners_only(path.parent)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, access.mode)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "wb"):
        os.fchmod(descriptor, access.mode)
        if os.geteuid() == 0:
            os.fchown(descriptor, access.user, access.group)


def _version(database: sqlite3.Connection, path: Path) -> int:
    with closing(database.execute("PRAGMA user_version")) as answer:
        (version,) = answer.fetchone()
    if version > SCHEMA:
        raise StateError(
            f"{path} is of a newer ntspool (schema {version}, this one knows {SCHEMA}); upgrade, or move it away"
        )
    return int(version)
