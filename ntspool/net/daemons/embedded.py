"""The embedded time server: it watches its key file."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ntspool.net.daemons import keyfile
from ntspool.pool.cookies import CookieFormat
from ntspool.pool.keyfiles import KeySet


@dataclass(frozen=True, slots=True)
class Embedded:
    """`ntspool timeserver`; `key_file` is what its `--keys` names."""

    cookies: ClassVar = CookieFormat.NTSPOOL
    restarts: ClassVar = False

    key_file: Path = Path("/var/lib/ntspool/timeserver.keys")

    def installed(self) -> KeySet | None:
        """Return the keys in the key file; None when the time server could not load it."""
        return keyfile.read(self.key_file, self.cookies)

    def outdated(self, loaded: KeySet, offered: KeySet) -> bool:
        """Tell whether the keys differ at all: to load others costs nothing."""
        return loaded != offered

    async def install(self, keys: KeySet, now: float) -> None:
        """Write the key file for the owner of its directory; raises StateError."""
        keyfile.install(self.key_file, self.cookies, keys, now, keyfile.owners_only(self.key_file.parent))

    async def load(self) -> None:
        """Do nothing: the time server looks at its key file twice a second."""
