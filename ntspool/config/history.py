"""The key `history` of backends.yaml: how much of the past is kept on disk."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, Field, PlainValidator

from ntspool.config import values
from ntspool.config.yamlfile import show

SHORTEST_RETENTION = 3600.0
"""What is kept for less than an hour is better looked at on the status page."""

LONGEST_RETENTION = 10 * 365 * 86400.0
"""What auditors ask for is five to seven years."""

USUAL_SINGLE_PROBES = 7 * 86400.0
"""A week of single probes of ten backends is 16 MB."""

SMALLEST_SIZE = 10 * 1024**2
"""Less is a handful of backends' week, and the write-ahead log beside it is larger."""

_SIZE = re.compile(r"([0-9]{1,6})([KMGT])")


def retention(value: object) -> float | None:
    """Return seconds for which history is kept, None for `off`."""
    return None if value == "off" else values.duration(SHORTEST_RETENTION, ", or off", LONGEST_RETENTION)(value)


def byte_count(value: object) -> int:
    """Return a number of bytes: `500M`, `2G`, a power of 1024 with each letter."""
    wanted = f"expected a size such as 500M or 2G, at least {SMALLEST_SIZE // 1024**2}M"
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{show(value)} is not a size; {wanted}")
    number: int = int(found[1]) * 1024 ** ("KMGT".index(found[2]) + 1)
    if number < SMALLEST_SIZE:
        raise ValueError(f"{show(value)} is too small; {wanted}")
    return number


single_probes = values.duration(SHORTEST_RETENTION)


def _default_probes(stated: dict[str, Any]) -> float:
    return float(min(USUAL_SINGLE_PROBES, stated.get("keep") or USUAL_SINGLE_PROBES))


class History(BaseModel, frozen=True, extra="forbid"):
    """What is kept on disk of probes and events: for `keep` seconds (None: nothing), as single `probes` for fewer.

    `size` in bytes bounds it, too.
    """

    keep: Annotated[float | None, PlainValidator(retention)] = 400 * 86400.0
    probes: Annotated[float, PlainValidator(single_probes)] = Field(default_factory=_default_probes)
    size: Annotated[int, PlainValidator(byte_count)] = 2 * 1024**3
