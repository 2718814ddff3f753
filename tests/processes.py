"""The processes of gateways: which workers run, and how none stays behind."""

import contextlib
import os
import signal
from pathlib import Path


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that only waits to be reaped does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def workers_of(state: Path) -> set[int]:
    """Return the process ids of the workers that may outlive the control process, by its state directory."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().decode().split("\0")
            if "ntspool.app.worker" in words and str(state) in words and alive(int(process.name)):
                found.add(int(process.name))
    return found


def end_workers(state: Path) -> None:
    """Kill every such worker, whatever has become of the control process."""
    for pid in workers_of(state):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
