"""A small fuzzer: mutates good bytes, feeds them to a check, and tells which case let it down.

Every case has a generator of its own, so that what a failure prints makes it again: `target.case(number)`.
"""

import signal
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from ntspool.errors import WireError

SEED = 8915
SLOWEST = 0.5
"""Seconds of processor time after which a case is ended; on a machine of today the slowest takes 0.01."""

MOST_MEMORY, MOST_PER_BYTE = 256 * 1024, 64
"""Bytes that a case may have Python hold at a time, and for each byte of its own."""

LONGEST = 60_000
"""Bytes of a case; an NTP datagram can have no more than some 65,000."""

EXTREMES = (0, 1, 2, 3, 4, 5, 15, 16, 27, 28, 29, 0xFF, 0x100, 0x3FF8, 0x3FFC, 0x4000, 0x7FFF, 0x8000, 0xFFFC, 0xFFFF)
TYPES = (*range(16), 1024, 0x4000, 0x0104, 0x0204, 0x0304, 0x0404, 0x7FFF)
TEXT = b"0159afAFNKILT: \n\r\t-.x\0\xff"


def record_lengths(data):
    """Return where the length fields of NTS-KE records are."""
    found, at = [], 0
    while at + 4 <= len(data):
        found.append(at + 2)
        at += 4 + int.from_bytes(data[at + 2 : at + 4], "big")
    return found


def field_lengths(data, at=0):
    """Return where the length fields of extension fields are, from offset `at`, those in authenticators too."""
    found = []
    while at + 8 <= len(data):
        authenticator = data[at : at + 2] == b"\x04\x04"
        found += [at + 2, at + 4, at + 6] if authenticator else [at + 2]
        at += max(4, int.from_bytes(data[at + 2 : at + 4], "big"))
    return found


def mutate(rng, data, samples, lengths):
    """Change `data`, a bytearray, in one way."""
    start = rng.randrange(len(data) + 1)
    end = min(len(data), start + rng.choice((1, 1, 2, 4, 16, 10_000)))
    match rng.randrange(12):
        case 0 if data:
            data[start - 1] ^= 1 << rng.randrange(8)
        case 1 if data:
            data[start - 1] = rng.choice(TEXT)
        case 2:
            del data[start:]
        case 3:
            del data[start:end]
        case 4:
            length = rng.choice((1, 1, 2, 4, 20, 300))
            data[start:start] = rng.choice((rng.randbytes(length), bytes(rng.choices(TEXT, k=length))))
        case 5:
            data[start:start] = data[start:end] * rng.choice((1, 2, 40))
        case 6:
            other = rng.choice(samples)
            data[start:] = other[rng.randrange(len(other) + 1) :]
        case 7 | 8:
            mutate_unit(rng, data, lengths)
        case _:
            at = rng.choice(lengths(data) or [start])
            old = int.from_bytes(data[at : at + 2], "big")
            new = rng.choice((*EXTREMES, old + 1, old - 1, old + 4, old - 4, len(data)))
            data[at : at + 2] = (new % 2**16).to_bytes(2, "big")


def mutate_unit(rng, data, lengths):
    """Change a record or a field as a whole, so that the others are still found behind it."""
    starts = [max(0, at - 2) for at in lengths(data)] or [0]
    index = rng.randrange(len(starts))
    start, end = starts[index], (*starts, len(data))[index + 1]
    unit = data[start:end]
    match rng.randrange(5):
        case 0:
            unit = b""
        case 1:
            unit *= 2
        case 2 if unit:
            unit[0] ^= 0x80
        case 3:
            unit[:2] = (rng.choice(TYPES) | rng.choice((0, 0x8000))).to_bytes(2, "big")
        case _:
            # Another body, of a length that is told.
            body = rng.randbytes(rng.choice((0, 1, 2, 3, 4, 28)))
            unit[2:] = len(body).to_bytes(2, "big") + body
    data[start:end] = unit


@contextmanager
def endless_loops_ended():
    """Raise TimeoutError wherever ITIMER_VIRTUAL runs out."""

    def end(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, end)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@dataclass(frozen=True)
class Target:
    """`check` takes a case's bytes and its generator; it may raise `refusals`, and AssertionError when it is let down.

    `invariant` says in words what it sees to, beside what holds for all: time and memory of a case are bounded, and
    nothing else is raised. `lengths` tells where in some bytes the 16-bit length fields are.
    """

    name: str
    invariant: str
    cases: int
    samples: Sequence[bytes]
    check: Callable[[bytes, Random], object]
    lengths: Callable[[bytes], Sequence[int]] = lambda _: ()
    refusals: tuple[type[Exception], ...] = (WireError,)

    def try_one(self, data, rng):
        """Tell whether a case was taken, and not refused; raises whatever else came out."""
        try:
            self.check(data, rng)
        except self.refusals:
            return False
        return True

    def memory(self, data):
        """Return the most bytes that Python held for a case at a time; tracemalloc must run, which makes it slow."""
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        self.try_one(data, Random(data))
        return tracemalloc.get_traced_memory()[1] - before

    def case(self, number, seed=SEED):
        """Return the bytes of a case and its generator."""
        rng = Random(f"{seed} {self.name} {number}")
        if rng.randrange(10) == 0:
            return rng.choice((b"", rng.choice(self.samples)[:48])) + rng.randbytes(rng.randrange(100)), rng
        data = bytearray(rng.choice(self.samples))
        for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 5))):
            mutate(rng, data, self.samples, self.lengths)
        return bytes(data[:LONGEST]), rng

    def run(self, seed=SEED):
        """Run all cases and return how many were refused; raises AssertionError at the first that is let down."""
        refused = 0
        with endless_loops_ended():
            for number in range(self.cases):
                data, rng = self.case(number, seed)
                try:
                    signal.setitimer(signal.ITIMER_VIRTUAL, SLOWEST)
                    refused += not self.try_one(data, rng)
                except Exception as error:
                    where = f"seed {seed}, target {self.name!r}, case {number}: {len(data)} bytes, {data[:400].hex()}"
                    raise AssertionError(f"{type(error).__name__} at {where}") from error
        return refused
