"""chronyd: four keys, loaded while it runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from ntspool.errors import LocalError
from ntspool.net.daemons import command, keyfile
from ntspool.pool.cookies import CookieFormat
from ntspool.pool.keyfiles import KeySet

REKEY_TIMEOUT: Final = 10.0
"""Seconds for `chronyc rekey`."""

KEY_FILE: Final = "ntskeys"
"""The name of the key file in chrony's `ntsdumpdir`."""


@dataclass(frozen=True, slots=True)
class Chrony:
    """chronyd, whose `key_file` is `ntskeys` in its `ntsdumpdir` and whose command socket is at `socket`.

    `chronyc` is the program and, if need be, words before it.
    """

    cookies: ClassVar = CookieFormat.CHRONY
    restarts: ClassVar = False

    key_file: Path = Path("/var/lib/chrony") / KEY_FILE
    socket: Path = Path("/run/chrony/chronyd.sock")
    chronyc: Sequence[str] = ("chronyc",)

    def installed(self) -> KeySet | None:
        """Return the keys in the key file; None when chronyd could not load it."""
        return keyfile.read(self.key_file, self.cookies)

    def outdated(self, loaded: KeySet, offered: KeySet) -> bool:
        """Tell whether the keys differ at all: to load others costs nothing."""
        return loaded != offered

    async def install(self, keys: KeySet, now: float) -> None:
        """Write the key file for the owner of its directory; raises StateError."""
        keyfile.install(self.key_file, self.cookies, keys, now, keyfile.owners_only(self.key_file.parent))

    async def load(self) -> None:
        """Run `chronyc rekey`, which says 200 OK even when chronyd could not read the file; raises LocalError."""
        # An absolute path makes chronyc use the Unix socket, the only one over which chronyd lets itself be commanded.
        words = (*self.chronyc, "-h", str(self.socket.absolute()), "rekey")
        said = await command.run(words, REKEY_TIMEOUT)
        if "200 OK" not in said:
            raise LocalError(f"chronyd refuses to load its keys: {said}")
