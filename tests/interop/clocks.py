"""Clocks of single processes that are wrong, and that can be stepped while the processes run."""

import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.interop.lab import working_directory

_SHIFTED = Path(__file__).with_name("shifted")


@dataclass(frozen=True, slots=True)
class Clock:
    """A clock that Python processes with the environment `env` go by: see shifted/sitecustomize.py."""

    file: Path

    @property
    def env(self) -> dict[str, str]:
        return {"PYTHONPATH": str(_SHIFTED), "NTSPOOL_SHIFT": str(self.file)}

    def program(self, module: str = "ntspool") -> Sequence[str]:
        """Return the words that run a Python module by this clock."""
        return ("env", *(f"{name}={value}" for name, value in self.env.items()), sys.executable, "-m", module)

    def step(self, seconds: float) -> None:
        """Set the clock to so many seconds from the right time."""
        # In place: whoever goes by it has it in memory.
        with self.file.open("r+b") as file:
            file.write(struct.pack("@d", seconds))


@contextmanager
def wrong_clock(seconds: float = 0.0) -> Iterator[Clock]:
    """Make a clock that is wrong by so many seconds."""
    with working_directory() as directory:
        clock = Clock(directory / "shift")
        clock.file.write_bytes(struct.pack("@d", seconds))
        yield clock
