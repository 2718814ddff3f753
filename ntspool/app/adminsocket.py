"""Where the running gateway's admin socket is, told by backends.yaml without checking it.

The checked configuration takes pydantic, OpenSSL and most of a second; and an operator wants to see the running gateway
all the more when the file that it was started from has been broken since.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from ntspool.errors import ConfigError

_STATE = "/var/lib/ntspool"  # as in ntspool/config/models.py; a test compares them
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def find_socket(path: Path) -> Path:
    """Return the admin socket of the gateway that was started from the configuration file at `path`.

    Raises ConfigError when that cannot be read.
    """
    stated, folder = _read(path), path.absolute().parent
    if socket := stated.get(("admin", "socket")):
        return folder / socket
    return find_state(path) / "admin.sock"


def find_state(path: Path) -> Path:
    """Return the state folder of the gateway that is configured by the file at `path`; raises ConfigError as above."""
    return path.absolute().parent / (_read(path).get(("state",)) or _STATE)


def _read(path: Path) -> dict[tuple[str, ...], str]:
    try:
        with path.open("rb") as file:
            return _first(_texts(yaml.parse(file, Loader=_LOADER)))
    except OSError as error:
        raise ConfigError([f"{path}:1: cannot be read: {error.strerror}; expected a YAML file"]) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        wrong = f"{path}: not YAML; `ntspool check-config {path}` tells where, --socket does without it"
        raise ConfigError([wrong]) from error


def _first(texts: Iterable[tuple[tuple[str, ...], str]]) -> dict[tuple[str, ...], str]:
    found: dict[tuple[str, ...], str] = {}
    for place, text in texts:
        if place in {("admin", "socket"), ("state",)}:
            found.setdefault(place, text)
    return found


def _texts(events: Iterable[yaml.Event]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every text that stands under a key, with the keys that lead there."""
    keys: list[str] = []  # one for each open collection, empty while a key is expected
    for event in events:
        match event:
            case yaml.CollectionStartEvent():
                keys.append("")
            case yaml.CollectionEndEvent():
                keys.pop()
                keys[-1:] = [""] if keys else []
            case yaml.ScalarEvent() if keys and keys[-1]:
                yield tuple(keys), event.value
                keys[-1] = ""
            case yaml.ScalarEvent() if keys:
                keys[-1] = event.value
