"""How busy this thread has been: the kernel's own word on running, and on waiting for a core."""

import time
from dataclasses import dataclass
from pathlib import Path

_SCHEDSTAT = Path("/proc/thread-self/schedstat")


@dataclass(frozen=True, slots=True)
class Busy:
    """Seconds that the thread ran, and that it could have run but had to wait for a core."""

    ran: float = 0.0
    waited: float = 0.0

    @classmethod
    def now(cls) -> "Busy":
        """Return the sums since the thread began; where the kernel does not count waiting, that stays 0."""
        try:
            ran, waited, _ = _SCHEDSTAT.read_text().split()
        except (OSError, ValueError):
            return cls(time.thread_time())
        return cls(int(ran) / 1e9, int(waited) / 1e9)

    def __sub__(self, before: "Busy") -> "Busy":
        """Return what has come since `before`."""
        return Busy(self.ran - before.ran, self.waited - before.waited)
