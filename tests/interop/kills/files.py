"""What is on disk: every file whole, nobody else's to read, nothing forgotten, and no epoch lost or changed."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ntspool.app.operating import ENTRY as ORDERS
from ntspool.errors import StateError
from ntspool.net import agentstate, authority, enrolment, eventlog, historyschema, keystore
from ntspool.net.daemons import keyfile
from ntspool.net.keystore import KeyStore
from ntspool.net.sealed import Seal
from ntspool.net.store import FileStore
from ntspool.pool import admin, cookies
from ntspool.pool.keyring import Keyring
from tests.interop.kills.site import Site
from tests.processes import alive

_PLAIN = {keystore.MADE, *(historyschema.ENTRY + end for end in ("-wal", "-shm", "-journal"))}
_PLAIN |= {"control.lock", "workers.lock", "handover.sock", "admin.sock", "turn", "resolved"}
_MODE, _SOCKET_MODE = 0o600, 0o660


class Disk:
    """Looks at all files of a site; `amiss` says what is wrong now, and `looked` counts files read so far."""

    def __init__(self, site: Site) -> None:
        self.looked = 0
        self._site = site
        self._roots: dict[int, bytes] = {}
        self._current = 0

    def amiss(self) -> Iterator[str]:
        """Say what is torn, open to others, or has gone back; call it at any time, dead processes or not."""
        store = FileStore(self._site.state)
        for path in sorted(self._site.state.iterdir()):
            if not _temporary(path):
                yield from self._entry(store, path)
        yield from self._epochs()
        for name, member in self._site.pool.members.items():
            yield from _refused(f"{name}'s identity", lambda name=name: agentstate.read(self._site.agent_state(name)))
            path = self._site.pool.daemons[name].key_file
            self.looked += 2
            if keyfile.read(path, cookies.CookieFormat(member.cookies)) is None:
                yield f"{path} is no whole key file"
            yield from _open_to_others(path)

    def forgotten(self) -> Iterator[str]:
        """Say which temporary files are there whose writers are dead."""
        site = self._site
        directories = [site.state, *map(site.agent_state, site.pool.members)]
        directories += [each.key_file.parent for each in site.pool.daemons.values()]
        for directory in directories:
            for path in directory.iterdir():
                if _temporary(path) and not alive(int(path.name.split(".")[-2])):
                    yield f"{path} is forgotten"

    def orders(self) -> dict[str, admin.Order]:
        """Return what is wanted of backends, as it is kept."""
        held = FileStore(self._site.state).get(ORDERS)
        return dict(admin.decode(held[0])) if held else {}

    def keys(self) -> Keyring:
        """Return the keyring as it is kept."""
        return KeyStore(FileStore(self._site.state), Seal(None)).load()

    def _entry(self, store: FileStore, path: Path) -> Iterator[str]:
        self.looked += 1
        match path.name:
            case keystore.ENTRY:
                yield from _refused(path.name, self.keys)
            case authority.ENTRY:
                yield from _refused(path.name, lambda: authority.load_or_create(store, 0.0))
            case enrolment.ENTRY:
                yield from _refused(path.name, lambda: enrolment.read(store))
            case eventlog.ENTRY:
                yield from _refused(path.name, lambda: _events(path))
            case name if name == ORDERS:
                yield from _refused(path.name, self.orders)
            case historyschema.ENTRY:
                yield from _refused(path.name, lambda: _check_database(path))
            case name if name not in _PLAIN:
                yield f"{path} is no file that is known"
        yield from _open_to_others(path, _SOCKET_MODE if path.name == "admin.sock" else _MODE)

    def _epochs(self) -> Iterator[str]:
        ring = self.keys()
        if ring.current.number < max(self._current, self._site.epoch):
            yield f"epoch {ring.current.number} is current after {max(self._current, self._site.epoch)}"
        self._current = ring.current.number
        for epoch in ring.epochs:
            if self._roots.setdefault(epoch.number, epoch.root) != epoch.root:
                yield f"epoch {epoch.number} has another root"
        numbers = [epoch.number for epoch in ring.epochs]
        if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            yield f"epochs {numbers} have a gap"
        ended = [each.number for each in ring.ended]
        if ended != list(range(numbers[0] - 1, numbers[0] - 1 - len(ended), -1)):
            yield f"epochs {ended} have ended before {numbers[0]}"


def _temporary(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".tmp")


def _refused(what: str, read: object) -> Iterator[str]:
    try:
        read()  # type: ignore[operator]
    except FileNotFoundError:
        return
    except (StateError, ValueError, TypeError, sqlite3.Error) as error:
        yield f"{what}: {error}"


def _open_to_others(path: Path, most: int = _MODE) -> Iterator[str]:
    try:
        mode = path.stat().st_mode & 0o777
    except FileNotFoundError:
        return
    if mode & ~most:
        yield f"{path} has mode {mode:04o}"


def _events(path: Path) -> None:
    text = path.read_bytes()
    if text and not text.endswith(b"\n"):
        raise ValueError("the last event is torn")
    log = eventlog.EventLog(FileStore(path.parent))
    log.recall()
    told = log.after(0)
    if len(told) != text.count(b"\n"):
        raise ValueError(f"{len(told)} of {text.count(bytes([10]))} events can be read")


def _check_database(path: Path) -> None:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
        (told,) = database.execute("PRAGMA quick_check").fetchone()
    if told != "ok":
        raise ValueError(told)
