"""`ntspool backend add`, `set` and `remove`: backends.yaml edited in place, checked before it is written."""

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path

from ntspool import config
from ntspool.app import declared
from ntspool.config import edit, yamlfile
from ntspool.config.models import Backend, KeyExchange
from ntspool.config.spelling import Scalar, Value
from ntspool.config.values import expected_word
from ntspool.config.yamlfile import Document
from ntspool.errors import ConfigError, LocalError, RefusedError
from ntspool.net.editing import only_editor, replace

Change = Callable[[Document], str]
"""From backends.yaml to its new text; raises LocalError."""

_BOM = b"\xef\xbb\xbf"
_NUMBERS = frozenset({"port", "weight", "ke.port"})
_LISTS = frozenset({"address", "aeads", "region"})
_FIXED = frozenset({"name", "srv"})


def added(name: str, settings: Mapping[str, Value]) -> Change:
    """Return the change that adds the backend `name`, with its settings in the usual order."""
    in_order = {key: settings[key] for key in Backend.model_fields if key in settings}
    return lambda document: edit.add(document, {"name": name, **in_order})


def changed(name: str, changes: Mapping[str, Value | None]) -> Change:
    """Return the change that sets keys of the backend `name`, and takes out those that are None."""
    return lambda document: edit.change(document, _declared(document, name), changes)


def removed(name: str) -> Change:
    """Return the change that removes the backend `name`."""
    return lambda document: edit.remove(document, _declared(document, name))


def setting(text: str) -> tuple[str, Value | None]:
    """Return the key and the value of `key=value`, None for `key=`; raises ValueError with words."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r}; expected key=value, or key= to take the key out")
    known = [each for each in Backend.model_fields if each not in _FIXED | {"ke"}]
    known += [f"ke.{each}" for each in KeyExchange.model_fields]
    if key in _FIXED:
        raise ValueError(f"{key!r} is what a backend's keys and agents go by; remove it and add another one")
    if key not in known:
        raise ValueError(f"{key!r} is no key of a backend; {expected_word(key, known)}")
    return key, value_of(key, value) if value else None


def settings_of(stated: Mapping[str, str]) -> Mapping[str, Value]:
    """Return the keys of a backend and their values; `ke_host` and the like are those of `ke`."""
    inner = {key.removeprefix("ke_"): text for key, text in stated.items() if key.startswith("ke_")}
    ke = {key: _number(text) if f"ke.{key}" in _NUMBERS else text for key, text in inner.items()}
    own = {key: value_of(key, text) for key, text in stated.items() if not key.startswith("ke_")}
    return {**own, **({"ke": {key: ke[key] for key in KeyExchange.model_fields if key in ke}} if ke else {})}


def value_of(key: str, text: str) -> Value:
    """Return what `text`, a word or several with commas, means as the value of `key`; checking it is up to others."""
    if key in _NUMBERS:
        return _number(text)
    if key not in _LISTS:
        return text
    listed = [_number(each) if key == "aeads" else each for each in map(str.strip, text.split(","))]
    return listed if len(listed) > 1 or key == "aeads" else listed[0]


def rewrite(path: Path, change: Change, *, dry_run: bool) -> list[str]:
    """Make `change` in the file at `path` and return the difference, by lines; without one nothing is written.

    Raises ConfigError with every mistake that the file would have, and RefusedError or another LocalError; the file
    is as it was then.
    """
    yamlfile.read_bytes(path)  # what cannot be read at all is told as all commands tell it
    with nullcontext() if dry_run else only_editor(path):
        old = yamlfile.read_bytes(path)
        document = yamlfile.parse(path, old)
        text = change(document)
        new = (_BOM if old.startswith(_BOM) else b"") + text.encode()
        if new == old:
            return []
        _check(path, new)
        if not dry_run:
            replace(path, old, new)
    return list(_difference(path, document.text, text))


def _check(path: Path, new: bytes) -> None:
    try:
        config.check(yamlfile.parse(path, new))
    except ConfigError as error:
        raise ConfigError([*error.mistakes, f"{path} stays as it was; the lines are those it would have"]) from error


def _declared(document: Document, name: str) -> str:
    """Return `name`; raises RefusedError when it is one that only the DNS knows."""
    if name not in edit.names(document) and name in _discovered(document):
        raise RefusedError(
            f"{name} is not in {document.path} but comes from the DNS: change its SRV record, declare it by `ntspool "
            f"backend add {name} {name}`, or take it out of service by `ntspool backend drain {name}`"
        )
    return name


def _discovered(document: Document) -> set[str]:
    try:
        return {each.name for each in declared.backends(config.check(document))}
    except (
        LocalError
    ):  # a mistake, which is told about what comes of it, or a state directory that is not for this user
        return set()


def _number(text: str) -> Scalar:
    """Return the whole number that `text` is; what is none is told when the file is checked."""
    value = yamlfile.plain(text)
    return value if isinstance(value, int) and not isinstance(value, bool) else text


def _difference(path: Path, old: str, new: str) -> Iterator[str]:
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    for line in difflib.unified_diff(before, after, str(path), str(path)):
        yield line.rstrip("\r\n")
        if not line.endswith(("\n", "\r")):
            yield "\\ No newline at end of file"
