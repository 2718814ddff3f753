"""A distribution in few bytes: counts in buckets that grow with the value, so that quantiles are right to 5 %.

The buckets are those of DDSketch (Masson, Rim and Lee, VLDB 2019): the bounds of each are a constant factor apart.
"""

from collections import Counter
from collections.abc import Iterator
from math import ceil, log

from ntspool.errors import WireError

ACCURACY = 0.05
"""How far a quantile may be off, as a part of itself, beyond UNIT."""

UNIT = 1e-9
"""Seconds below which everything is zero."""

_FACTOR = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_FACTOR = log(_FACTOR)
_LONGEST_VARINT = 10
_LAST = 1000  # 10**34 seconds


class Sketch:
    """Counts of values in seconds of either sign; what is added cannot be told apart again."""

    __slots__ = ("buckets",)

    def __init__(self) -> None:
        self.buckets: Counter[int] = Counter()

    def add(self, value: float) -> None:
        """Count a value."""
        self.buckets[_bucket(value)] += 1

    def merge(self, other: "Sketch") -> None:
        """Count all that another has counted."""
        self.buckets.update(other.buckets)

    def ordered(self) -> Iterator[tuple[float, int]]:
        """Yield the values that stand for the buckets, in ascending order, with how many there were."""
        for bucket in sorted(self.buckets):
            yield _value(bucket), self.buckets[bucket]

    def pack(self) -> bytes:
        """Return it as bytes: for each bucket its distance from the one before, and its count, as varints."""
        packed, before = bytearray(), 0
        for bucket in sorted(self.buckets):
            step, before = bucket - before, bucket
            for number in ((step << 1) ^ (step >> 63), self.buckets[bucket]):
                _append(packed, number)
        return bytes(packed)

    @classmethod
    def unpack(cls, data: bytes) -> "Sketch":
        """Return what was packed; raises WireError for what never was."""
        sketch, bucket = cls(), 0
        numbers = list(_numbers(data))
        if len(numbers) % 2:
            raise WireError("a sketch with half of a bucket")
        for step, count in zip(numbers[::2], numbers[1::2], strict=True):
            bucket += (step >> 1) ^ -(step & 1)
            if abs(bucket) > _LAST:
                raise WireError(f"no value falls into bucket {bucket} of a sketch")
            sketch.buckets[bucket] += count
        return sketch


def _bucket(value: float) -> int:
    if abs(value) < UNIT:
        return 0
    bucket = 1 + min(max(0, ceil(log(abs(value) / UNIT) / _LOG_FACTOR)), _LAST - 1)
    return bucket if value > 0 else -bucket


def _value(bucket: int) -> float:
    """Return the value that is off by ACCURACY at most from any in the bucket."""
    if bucket == 0:
        return 0.0
    value = float(UNIT * 2 * _FACTOR ** (abs(bucket) - 1) / (_FACTOR + 1))
    return value if bucket > 0 else -value


def _append(packed: bytearray, number: int) -> None:
    while number > 0x7F:
        packed.append(number & 0x7F | 0x80)
        number >>= 7
    packed.append(number)


def _numbers(data: bytes) -> Iterator[int]:
    number, length = 0, 0
    for byte in data:
        number |= (byte & 0x7F) << 7 * length
        length += 1
        if length > _LONGEST_VARINT:
            raise WireError("a number of a sketch is too long")
        if byte < 0x80:
            yield number
            number, length = 0, 0
    if length:
        raise WireError("a sketch that ends in the middle of a number")
