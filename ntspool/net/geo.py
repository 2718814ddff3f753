"""Where clients are, by a MaxMind database: country, then continent."""

import time
from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path

import maxminddb
import structlog

from ntspool.errors import DatabaseError

CHECK_INTERVAL = 10.0
"""Seconds between two looks at whether the file was replaced."""

CONTINENTS = {
    "AF": "africa",
    "AN": "antarctica",
    "AS": "asia",
    "EU": "europe",
    "NA": "north-america",
    "OC": "oceania",
    "SA": "south-america",
}
"""Continents by MaxMind's codes. Spelled out, as pool.ntp.org has them: NA, SA, AF and AS are countries, too."""

Places = tuple[str, ...]
"""Where a client is, the closest first: its country by the two letters of ISO 3166-1, in lower case, its continent."""

log = structlog.get_logger()


def nowhere(_packed: bytes) -> Places:
    """Stand in for a Locator where there is no database: every client is nowhere."""
    return ()


def open_database(path: Path) -> maxminddb.Reader:
    """Return the database at `path`, read into memory: a mapped file that is cut short would end the process.

    Raises DatabaseError when it cannot be read or is no MaxMind database.
    """
    if path.exists() and not path.is_file():  # opening a FIFO would wait for its writer
        raise DatabaseError(f"{path} is not a regular file")
    try:
        return maxminddb.open_database(path, maxminddb.MODE_MEMORY)
    except OSError as error:
        raise DatabaseError(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:
        # A damaged file makes the library raise almost anything.
        raise DatabaseError(f"{path} is not a MaxMind database, or is damaged") from error


class Locator:
    """Tells where clients are, by the database at `path` as it was when it last could be read. Never raises.

    Whether the file was replaced, it sees at a look-up, every CHECK_INTERVAL seconds of `clock`.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._reader: maxminddb.Reader | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._next_check = clock()
        self._damage_told = False

    def __call__(self, packed: bytes) -> Places:
        """Return where the client with this address (4 or 16 bytes, network byte order) is."""
        if self._clock() >= self._next_check:
            self._next_check = self._clock() + CHECK_INTERVAL
            self._look()
        if self._reader is None:
            return ()
        try:
            record = self._reader.get(ip_address(packed))
        except ValueError:
            # The library's words for an IPv6 address and a database of IPv4 only.
            return ()
        except Exception:
            if not self._damage_told:
                self._damage_told = True
                log.exception("region database damaged, some clients are nowhere", path=str(self._path))
            return ()
        return _places(record)

    def _look(self) -> None:
        stamp = _stamp_of(self._path)
        if stamp == self._stamp and self._reader is not None:
            return
        changed, self._stamp = stamp != self._stamp, stamp
        try:
            self._reader = open_database(self._path)
        except DatabaseError as error:
            if changed or stamp is None:
                log.error("region database refused, the last good one stays", reason=str(error))
            return
        self._damage_told = False
        log.info("region database opened", path=str(self._path), built=self._reader.metadata().build_epoch)


@lru_cache(maxsize=1)
def locator(path: str) -> Locator:
    """Return the Locator of `path`, the same one as before: a new Snapshot must not cost the last good database."""
    return Locator(Path(path))


def _places(record: object) -> Places:
    """Return the codes of a record of the GeoIP2 and GeoLite2 databases, City and Country alike."""
    country, continent = _code(record, "country", "iso_code"), _code(record, "continent", "code")
    return tuple(place for place in (country.lower(), CONTINENTS.get(continent, "")) if place)


def _code(record: object, what: str, key: str) -> str:
    inner = record.get(what) if isinstance(record, dict) else None
    code = inner.get(key) if isinstance(inner, dict) else None
    return code if isinstance(code, str) else ""


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
