"""Prometheus's own tools, which `.ci/daemons` fetches; tests that need them are skipped, saying why, without."""

import os
import shutil
import subprocess

import pytest


def find(program: str) -> str:
    """Return where `prometheus` or `promtool` is."""
    daemons = os.environ.get("NTSPOOL_DAEMONS", "")
    path = os.pathsep.join([*([f"{daemons}/bin"] if daemons else []), os.environ.get("PATH", "")])
    found = shutil.which(program, path=path)
    return found or pytest.skip(f"no {program}: it is in Debian's package prometheus, see .ci/daemons")


def promtool(*arguments: object, **more: object) -> subprocess.CompletedProcess[bytes]:
    """Run promtool and return what it said, its errors among its output."""
    command = [find("promtool"), *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=60, **more)
