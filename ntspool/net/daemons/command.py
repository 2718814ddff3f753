"""Running another program to its end."""

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import suppress

from ntspool.errors import LocalError

_OUTPUT_SHOWN = 300


async def run(words: Sequence[str], timeout: float) -> str:
    """Run a program and return what it printed.

    Raises LocalError, in the program's own words, unless it ends with 0 within `timeout` seconds.
    """
    name = " ".join(words)
    # Not a pipe: a daemon that the program has started may keep that open for ever.
    with tempfile.TemporaryFile() as output:
        try:
            process = await asyncio.create_subprocess_exec(
                *words, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
            )
        except OSError as error:
            raise LocalError(f"`{name}` cannot be run: {error.strerror}") from error
        status = await _ended(process, name, timeout)
        output.seek(0)
        said = output.read().decode(errors="replace").strip()
    if status:
        raise LocalError(f"`{name}` failed with {status}: {said[-_OUTPUT_SHOWN:]}")
    return said


async def _ended(process: asyncio.subprocess.Process, name: str, timeout: float) -> int:
    try:
        async with asyncio.timeout(timeout):
            return await process.wait()
    except TimeoutError:
        raise LocalError(f"`{name}` did not end within {timeout:g} s") from None
    finally:
        # Also when the agent itself is told to end meanwhile.
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
