"""The file that remembers which DNS records this gateway has added."""

import json
from collections.abc import Iterable

from ntspool.errors import StateError
from ntspool.pool.publishing import Key, Kind, Record


def encode(records: Iterable[Record]) -> bytes:
    """Return the file."""
    return json.dumps({"records": sorted((*key, value) for key, value in records)}, indent=1).encode()


def decode(data: bytes) -> frozenset[Record]:
    """Read the file; raises StateError if it is damaged."""
    try:
        records = json.loads(data)["records"]
        return frozenset((Key(_text(name), Kind(kind)), _text(value)) for name, kind, value in records)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StateError("the entry published of the state directory is damaged; delete it") from error


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise TypeError("a part of a record is no text")
    return value
