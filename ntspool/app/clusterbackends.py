"""The backends of a cluster, which all of its gateways share: taken in from a file, and edited as that would be."""

import difflib
from collections.abc import Callable
from pathlib import Path

from ntspool import config
from ntspool.app.sharing import BACKENDS, command_store, is_shared
from ntspool.config import yamlfile
from ntspool.config.yamlfile import Document
from ntspool.errors import ConfigError, LocalError, RefusedError
from ntspool.net.store import Store

Change = Callable[[Document], str]
"""From what declares backends to its new text; raises LocalError."""


def take_in(path: Path, source: Path, *, dry_run: bool) -> list[str]:
    """Make the backends of the file `source` the cluster's, and return the difference, by lines.

    Raises ConfigError with every mistake that the configuration at `path` would have with them, and LocalError.
    """
    declared = config.load(path)
    if not is_shared(declared):
        raise LocalError(f"{path} names no etcd: under `store`, say what the gateways share")
    wanted = _section(yamlfile.read(source))
    with command_store(declared) as store:
        return _put(path, store, lambda _: wanted, dry_run=dry_run)


def rewrite(path: Path, change: Change, *, dry_run: bool) -> list[str] | None:
    """Make `change` in the cluster's backends and return the difference; None when it has none, or there is no cluster.

    Raises ConfigError with every mistake that there would be, and RefusedError or another LocalError.
    """
    # A file with a mistake may be about to be mended.
    if config.shared_backends(yamlfile.read(path)) is None:
        return None
    with command_store(config.load(path)) as store:
        return _put(path, store, change, dry_run=dry_run) if store.get(BACKENDS) is not None else None


def _put(path: Path, store: Store, change: Change, *, dry_run: bool) -> list[str]:
    held = store.get(BACKENDS)
    name = Path("the cluster's backends")
    old = yamlfile.parse(name, held[0] if held else b"backends: []\n")
    text = change(old)
    if held is not None and text.encode() == held[0]:
        return []
    try:
        config.check(yamlfile.with_backends(yamlfile.read(path), yamlfile.parse(name, text.encode())))
    except ConfigError as error:
        raise ConfigError([*error.mistakes, "the cluster's backends stay as they were"]) from error
    if not dry_run:
        store.put_if(BACKENDS, text.encode(), held and held[1])
    before = old.text.splitlines() if held else []
    return list(difflib.unified_diff(before, text.splitlines(), str(name), str(name), lineterm=""))


def _section(document: Document) -> str:
    """Return the lines of `document` that declare its backends; raises RefusedError when they cannot be told apart."""
    place = ("backends",)
    if place not in document.lines:
        raise RefusedError(f"{document.path} declares no backends")
    lines = document.text.splitlines(keepends=True)
    start = document.lines[place] - 1
    others = [line for where, line in document.lines.items() if len(where) == 1 and line - 1 > start]
    text = "".join(lines[start : min(others, default=len(lines) + 1) - 1]).rstrip() + "\n"
    if yamlfile.parse(document.path, text.encode()).value != {"backends": document.at(*place)}:
        raise RefusedError(f"{document.path}: write `backends:` at the beginning of a line, and each backend below it")
    return text
