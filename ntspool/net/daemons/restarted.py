"""NTPsec and ntpd-rs: they read keys only when they start, but many of them, so that they seldom have to."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from ntspool.net.daemons import command, keyfile
from ntspool.pool.cookies import CookieFormat
from ntspool.pool.keyfiles import KeySet

RESTART_TIMEOUT: Final = 120.0
"""Seconds for the command that restarts a daemon; systemd gives up on one that does not end after 90."""


def stock_low(loaded: KeySet, offered: KeySet) -> bool:
    """Tell whether a daemon that started with `loaded` has to be restarted with `offered`, oldest key first.

    So it is once the key that the daemon mints under is the oldest offered: the next rotation would take it away, and
    with it the cookies that the daemon has just given out. And at once when a key that it holds was revoked: another
    stands in its place, or a future one is not offered any more.
    """
    secrets = {key.id: key.secret for key in offered.keys}
    replaced = any(secrets.get(key.id, key.secret) != key.secret for key in loaded.keys)
    withdrawn = any(key.id not in secrets for key in loaded.keys[loaded.current :])
    return replaced or withdrawn or loaded.keys[loaded.current] not in offered.keys[1:]


@dataclass(frozen=True, slots=True)
class Ntpsec:
    """NTPsec's ntpd; `key_file` is what its `nts cookie` names, `restart` the command that restarts it."""

    cookies: ClassVar = CookieFormat.NTPSEC
    restarts: ClassVar = True

    key_file: Path = Path("/var/lib/ntpsec/nts-keys")
    restart: Sequence[str] = ("systemctl", "restart", "ntpsec")

    def installed(self) -> KeySet | None:
        """Return the keys in the key file; None when ntpd could not load it."""
        return keyfile.read(self.key_file, self.cookies)

    def outdated(self, loaded: KeySet, offered: KeySet) -> bool:
        """Tell whether the stock of keys is low."""
        return stock_low(loaded, offered)

    async def install(self, keys: KeySet, now: float) -> None:
        """Write the key file for the owner of its directory, since ntpd exits when it cannot read it."""
        keyfile.install(self.key_file, self.cookies, keys, now, keyfile.owners_only(self.key_file.parent))

    async def load(self) -> None:
        """Restart ntpd; raises LocalError."""
        await command.run(self.restart, RESTART_TIMEOUT)


@dataclass(frozen=True, slots=True)
class NtpdRs:
    """ntpd-rs; `key_file` is its `key-storage-path`, `restart` the command that restarts it."""

    cookies: ClassVar = CookieFormat.NTPD_RS
    restarts: ClassVar = True

    key_file: Path = Path("/var/lib/ntpd-rs/keys")
    restart: Sequence[str] = ("systemctl", "restart", "ntpd-rs")

    def installed(self) -> KeySet | None:
        """Return the keys in the key file; None when ntpd-rs could not load it."""
        return keyfile.read(self.key_file, self.cookies)

    def outdated(self, loaded: KeySet, offered: KeySet) -> bool:
        """Tell whether the stock of keys is low."""
        return stock_low(loaded, offered)

    async def install(self, keys: KeySet, now: float) -> None:
        """Write the key file so that ntpd-rs can read it and not write it, as it otherwise does at every start."""
        keyfile.install(self.key_file, self.cookies, keys, now, keyfile.groups_to_read(self.key_file.parent))

    async def load(self) -> None:
        """Restart ntpd-rs; raises LocalError."""
        await command.run(self.restart, RESTART_TIMEOUT)
