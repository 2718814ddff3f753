"""What a chronyd must be told to be a backend, and where its configuration says otherwise."""

import glob
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ntspool.errors import StateError

CONFIGURATION: Final = Path("/etc/chrony/chrony.conf")
"""Where Debian has chrony's configuration."""

_DEPTH = 10
_COMMENTS = ("!", ";", "#", "%")


@dataclass(frozen=True, slots=True)
class ChronySetup:
    """What a backend needs; `ke_port` moves chronyd's own NTS-KE server, which cannot be switched off, from 4460."""

    key_directory: Path = Path("/var/lib/chrony")
    certificate: Path = Path("/var/lib/chrony/ntspool.crt")
    private_key: Path = Path("/var/lib/chrony/ntspool.key")
    socket: Path = Path("/run/chrony/chronyd.sock")
    ke_port: int | None = None


@dataclass(frozen=True, slots=True)
class Directive:
    """One line of the configuration; `name` in lower case, as chronyd does not care."""

    file: Path
    line: int
    name: str
    value: str

    @property
    def at(self) -> str:
        """Where and what it is, for messages."""
        return f"{self.file}:{self.line}: {self.name} {self.value}".rstrip()


def read_configuration(path: Path) -> list[Directive]:
    """Return every directive in the order in which chronyd obeys them, those of included files in their place.

    Files of `sourcedir` are left out: chronyd takes nothing but time sources from them. Raises StateError when a file
    cannot be read.
    """
    return list(_read(path, _DEPTH))


def contradictions(path: Path, setup: ChronySetup) -> list[str]:
    """Return, as `file:line: what`, everything that keeps the chronyd of this configuration from being a backend.

    Of a directive that is given several times chronyd obeys the last. Raises StateError when a file cannot be read.
    """
    directives = read_configuration(path)
    last = {each.name: each for each in directives}
    found = [
        _rotation(path, last.get("ntsrotate")),
        _key_directory(path, last.get("ntsdumpdir"), setup.key_directory),
        _certificate(path, directives),
        _port(last.get("port")),
        None if "allow" in last else f"{path}: no allow: chronyd serves time to nobody; name who may ask",
        _socket(directives, setup.socket),
    ]
    return [each for each in found if each]


def _read(path: Path, depth: int) -> Iterator[Directive]:
    if not depth:
        raise StateError(f"{path} is included {_DEPTH} levels deep; chronyd does not follow so far")
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}") from error
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith(_COMMENTS):
            name, *values = line.split()
            directive = Directive(path, number, name.lower(), " ".join(values))
            yield directive
            for included in _included(directive):
                yield from _read(included, depth - 1)


def _included(directive: Directive) -> Iterable[Path]:
    if directive.name == "include":
        return map(Path, sorted(glob.glob(directive.value)))
    if directive.name == "confdir":
        # Of files of one name in several directories the first directory's counts.
        named: dict[str, Path] = {}
        for directory in directive.value.split():
            for path in Path(directory).glob("*.conf"):
                named.setdefault(path.name, path)
        return [named[name] for name in sorted(named)]
    return ()


def _rotation(path: Path, directive: Directive | None) -> str | None:
    if directive is None:
        return f"{path}: no ntsrotate 0: chronyd makes keys of its own and never loads ours"
    if directive.value.strip("+-0"):
        return f"{directive.at}: chronyd makes keys of its own and never loads ours; it must be ntsrotate 0"
    return None


def _key_directory(path: Path, directive: Directive | None, wanted: Path) -> str | None:
    if directive is None:
        return f"{path}: no ntsdumpdir: chronyd loads no keys; it must be ntsdumpdir {wanted}"
    if Path(directive.value) != wanted:
        return f"{directive.at}: the agent writes its key file into {wanted}; make the two agree"
    return None


def _certificate(path: Path, directives: Iterable[Directive]) -> str | None:
    certificates = [each for each in directives if each.name == "ntsservercert"]
    keys = [each for each in directives if each.name == "ntsserverkey"]
    if len(certificates) != len(keys):
        last = max(certificates, keys, key=len)[-1]
        return (
            f"{last.at}: there are {len(certificates)} ntsservercert and {len(keys)} ntsserverkey; chronyd wants pairs"
        )
    if not certificates:
        return f"{path}: no ntsservercert and ntsserverkey: without a pair, if a throw-away one, chronyd answers no NTS"
    return None


def _port(directive: Directive | None) -> str | None:
    if directive is not None and not directive.value.strip("+-0"):
        return f"{directive.at}: chronyd serves no time"
    return None


def _socket(directives: Iterable[Directive], wanted: Path) -> str | None:
    sockets = [each for each in directives if each.name == "bindcmdaddress" and each.value.startswith("/")]
    if sockets and Path(sockets[-1].value) != wanted:
        return f"{sockets[-1].at}: the agent commands chronyd over {wanted}; make the two agree"
    return None
