"""Services that are started again whenever they end, as systemd does with `Restart=always`."""

import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.interop.lab import DEADLINE
from tests.interop.rotating import unix_time


class Unit:
    """Keeps `command` running from when it is made until `stop`; what it prints is appended to the file `log`.

    `pause` is systemd's RestartSec, in seconds. A `process` that runs already is the first; `options` are Popen's.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        pause: float = 0.1,
        process: subprocess.Popen[bytes] | None = None,
        **options: Any,
    ) -> None:
        self.journal = Journal(log)
        self.starts = 1
        self._command = command
        self.log = log
        self._pause = pause
        self._options = options
        self._may_start = threading.Event()
        self._may_start.set()
        self._stopped = threading.Event()
        self._process = process or self._launch()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    @property
    def pid(self) -> int | None:
        """The id of the process that runs now, if one does."""
        process = self._process
        return process.pid if process.poll() is None else None

    def kill(self) -> bool:
        """Kill what runs as a crash would; tell whether something did."""
        process = self._process
        runs = process.poll() is None
        process.kill()
        process.wait()
        return runs

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let nothing be started meanwhile."""
        self._may_start.clear()
        try:
            yield
        finally:
            self._may_start.set()

    def stop(self) -> None:
        """End it for good, in order; by force if that takes long."""
        self._stopped.set()
        self._may_start.set()
        self._process.terminate()
        self._keeper.join(DEADLINE)
        if self._keeper.is_alive():
            self._process.kill()
            self._keeper.join()

    def _launch(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            return subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **self._options
            )

    def _keep(self) -> None:
        while True:
            self._process.wait()
            self._may_start.wait()
            if self._stopped.wait(self._pause):
                return
            self._process = self._launch()
            self.starts += 1
            if self._stopped.is_set():
                self._process.terminate()


class Journal:
    """What a unit has logged, each line read but once: how often each event, and the lines that tell a mistake."""

    def __init__(self, path: Path) -> None:
        self.mistakes: list[str] = []
        self._path = path
        self._offset = 0
        self._counts: Counter[str] = Counter()
        self._last: dict[tuple[str, str], float] = {}

    def count(self, event: str, words: str = "") -> int:
        """Return how many lines there are so far of an event whose reason, if it has one, has these words."""
        self._read()
        return sum(number for told, number in self._counts.items() if told.startswith(event) and words in told)

    def last(self, event: str, backend: str) -> float:
        """Return when an event of a backend was logged last, Unix seconds; 0 if it never was."""
        self._read()
        return self._last.get((event, backend), 0.0)

    def _read(self) -> None:
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        data = data[: data.rfind(b"\n") + 1]
        self._offset += len(data)
        for line in data.decode(errors="replace").splitlines():
            if line.startswith("{"):
                told = json.loads(line)
                self._counts[f"{told['event']}: {told.get('reason', '')}"] += 1
                if "backend" in told:
                    self._last[told["event"], told["backend"]] = unix_time(told)
                if "exception" in told:
                    self.mistakes.append(line)
            elif "Traceback" in line or "Error" in line:
                self.mistakes.append(line)


def soon(condition: Callable[[], object], seconds: float, pause: float = 0.05) -> bool:
    """Tell whether `condition()` comes true within so many seconds."""
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            return False
        time.sleep(pause)
    return True
