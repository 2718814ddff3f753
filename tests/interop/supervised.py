"""Daemons that are started again whenever they end, as systemd does when it is told to restart them."""

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop.daemons import Daemon
from tests.interop.lab import find, working_directory

_SUPERVISOR = """#!/bin/sh
for conf; do :; done
trap 'kill $child; exit' TERM
while :; do
    {program} "$@" & child=$!
    echo $child >"${{conf%/*}}/pid.new"
    mv "${{conf%/*}}/pid.new" "${{conf%/*}}/pid"
    wait $child
done
"""

# Like systemctl, it returns when the daemon runs again, which does not mean that it serves.
_RESTART = """#!/bin/sh
echo "$1 $(date +%s.%N) stop" >>"$3"
old=$(cat "$2/pid")
kill "$old"
while [ "$(cat "$2/pid")" = "$old" ]; do sleep 0.02; done
echo "$1 $(date +%s.%N) start" >>"$3"
"""


@dataclass(frozen=True, slots=True)
class Restart:
    """One restart of a backend's daemon: when that was told to end, and when another ran; Unix seconds."""

    backend: str
    stop: float
    start: float


@dataclass(frozen=True, slots=True)
class Supervisor:
    """Restarts daemons by a script that keeps a log of it."""

    directory: Path

    def command(self, name: str, daemon: Daemon) -> tuple[str, ...]:
        """Return the words that restart the daemon of backend `name`."""
        return (str(self.directory / "restart"), name, str(daemon.directory), str(self._log))

    def restarts(self) -> list[Restart]:
        """Return every restart so far, in the order in which they ended."""
        found, stopped = [], {}
        for line in self._log.read_text().splitlines() if self._log.exists() else ():
            name, when, what = line.split()
            if what == "stop":
                stopped[name] = float(when)
            else:
                found.append(Restart(name, stopped.pop(name), float(when)))
        assert not stopped, f"restarts without an end: {stopped}"
        return found

    @property
    def _log(self) -> Path:
        return self.directory / "log"


@contextmanager
def supervised(monkeypatch: pytest.MonkeyPatch, *programs: str) -> Iterator[Supervisor]:
    """Have the programs of daemons started again whenever they end, as long as this lasts."""
    paths = {program: find(program) for program in programs}
    with working_directory() as directory:
        directory.chmod(0o755)
        _write(directory / "restart", _RESTART)
        (directory / "bin").mkdir()
        for program, path in paths.items():
            _write(directory / "bin" / program, _SUPERVISOR.format(program=shlex.quote(path)))
        monkeypatch.setenv("PATH", f"{directory}/bin{os.pathsep}{os.environ['PATH']}")
        yield Supervisor(directory)


def _write(path: Path, script: str) -> None:
    path.write_text(script)
    path.chmod(0o755)
