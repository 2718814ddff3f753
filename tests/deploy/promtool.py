"""promtool, which `.ci/daemons` fetches; a test that needs it is skipped, saying why, without."""

import subprocess
from typing import Any

from tests.interop.lab import find


def promtool(*arguments: object, **more: Any) -> subprocess.CompletedProcess[bytes]:
    """Run promtool and return what it said, its errors among its output."""
    command = [find("promtool"), *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=60, **more)
