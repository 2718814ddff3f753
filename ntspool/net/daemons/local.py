"""What an agent does with the daemon beside it, whichever that is."""

from pathlib import Path
from typing import Protocol

from ntspool.pool.cookies import CookieFormat
from ntspool.pool.keyfiles import KeySet


class LocalDaemon(Protocol):
    """A time daemon of this machine. Nothing it says of itself is believed: prove its keys by `prove.prove`."""

    @property
    def key_file(self) -> Path:
        """Where the daemon reads its keys."""

    @property
    def cookies(self) -> CookieFormat:
        """The format of its cookies and of its key file."""

    @property
    def restarts(self) -> bool:
        """Whether `load` interrupts its service, so that no two backends of a pool may do it at a time."""

    def installed(self) -> KeySet | None:
        """Return the keys in the key file; None when there is none, or it is not what the daemon would load."""

    def outdated(self, loaded: KeySet, offered: KeySet) -> bool:
        """Tell whether a daemon that holds `loaded` has to be given `offered` now."""

    async def install(self, keys: KeySet, now: float) -> None:
        """Write the key file, whole or not at all, for the daemon's run-time user; raises StateError.

        `now` is in Unix seconds.
        """

    async def load(self) -> None:
        """Make the daemon load its key file; raises LocalError. That it returns proves nothing."""
