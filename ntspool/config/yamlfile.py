"""A YAML file as plain values, with the line of every key and item.

Scalars follow the core schema of YAML 1.2, not PyYAML's 1.1, under which `off` is false, `0123` is 83, `22:30` is 1350
and `2026-01-01` is a date: here they are text, so nobody's backend name or port turns into something else.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, Protocol

import yaml

from ntspool.errors import ConfigError

Place = tuple[str | int, ...]
"""Where a value stands: `("backends", 2, "weight")`; the whole file is `()`."""

LARGEST_FILE = 4 * 1024 * 1024
"""In bytes: ten thousand backends need 1 MiB."""

DEEPEST_NESTING = 16
"""Collections within collections: backends.yaml needs four, and the composer recurses once for each."""

_BACKENDS = ("backends",)
_TOO_DEEP = f"nested too deeply; expected at most {DEEPEST_NESTING} levels"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is 25 times faster, but not in every build of PyYAML
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,59}")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"[-+]?((0|[1-9][0-9]{0,17})(\.[0-9]{0,18})?|\.[0-9]{1,18})(e[-+]?[0-9]{1,3})?", re.IGNORECASE)
_NAMED = {"": None, "~": None, "null": None, "true": True, "false": False}


class _Mark(Protocol):
    """A position in the text, from either of PyYAML's parsers; lines count from 0."""

    line: int


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing to mend: `text` says what is wrong and what is expected; lines count from 1."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """What a file holds: `value` is made of dicts, lists, str, int, float, bool and None, `text` it all came from.

    `mistakes` are those that the reader met; what stands at a place in `unread` was replaced by None because of one of
    them, so that there is nothing more to say about it. Lines above `own` are those of the file `other`, whose backends
    took the place of this one's.
    """

    path: Path
    text: str
    value: object
    lines: Mapping[Place, int]
    mistakes: tuple[Mistake, ...]
    unread: frozenset[Place]
    own: int = 0
    other: Path | None = None

    @property
    def folder(self) -> Path:
        """The folder where relative paths start: that of the file, absolute."""
        return self.path.absolute().parent

    def at(self, *place: str | int) -> object:
        """Return the value at `place`, None when there is none."""
        value = self.value
        for step in place:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        return value

    def line(self, place: Place) -> int:
        """Return the line where `place` begins; for what is not there, that of the mapping that lacks it."""
        while place not in self.lines:
            place = place[:-1]
        return self.lines[place]

    def mistake(self, place: Place, text: str) -> Mistake:
        """Return a mistake at `place`; `text` says what is wrong there and what is expected."""
        while place not in self.lines and isinstance(place[-1], int):  # one item may stand without its list
            place = place[:-1]
        return Mistake(self.line(place), f"{spell(place)}: {text}" if place else f"the file holds {text}")


def with_backends(document: Document, shared: Document) -> Document:
    """Return `document` with the backends of `shared`, a file of its own, in place of those that it may have."""
    own = document.text.count("\n") + 1
    ours = {place: line for place, line in document.lines.items() if place[:1] != _BACKENDS}
    theirs = {place: line + own for place, line in shared.lines.items() if place[:1] == _BACKENDS}
    value = document.value
    if isinstance(value, dict):
        value = {**value, "backends": shared.at(*_BACKENDS)}
    met = (Mistake(each.line + own, each.text) for each in shared.mistakes)
    return replace(
        document,
        value=value,
        lines={**ours, **theirs},
        mistakes=(*document.mistakes, *met),
        unread=document.unread | shared.unread,
        own=own,
        other=shared.path,
    )


def read(path: Path) -> Document:
    """Read the YAML file at `path`; raises ConfigError when it is not one YAML document in UTF-8."""
    return parse(path, read_bytes(path))


def parse(path: Path, raw: bytes) -> Document:
    """Return what the file at `path` holds when `raw` is in it; raises ConfigError as `read` does."""
    return _Composer(path, _decode(path, raw)).document()


def read_bytes(path: Path) -> bytes:
    """Return what the file at `path` is made of; raises ConfigError when it cannot be read or is too large."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise refusal(path, [Mistake(1, f"cannot be read: {error.strerror}; expected a YAML file")]) from error
    if len(raw) > LARGEST_FILE:
        raise refusal(path, [Mistake(1, f"the file is too large; expected at most {LARGEST_FILE >> 20} MiB")])
    return raw


def nodes(document: Document) -> yaml.Node | None:
    """Return PyYAML's nodes for `document`, which know where they begin and end in its text."""
    root: yaml.Node | None = yaml.compose(document.text, Loader=_LOADER)
    return root


def plain(text: str) -> str | int | float | bool | None:
    """Return what `text` stands for where it is written without quotes."""
    if text in _NAMED:
        return _NAMED[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def refusal(path: Path, mistakes: Iterable[Mistake], own: int = 0, other: Path | None = None) -> ConfigError:
    """Return the exception that tells `mistakes` in the order of their lines; those above `own` are of `other`."""
    in_order = sorted(mistakes, key=lambda mistake: mistake.line)
    return ConfigError(
        [
            f"{path}:{each.line}: {each.text}"
            if other is None or each.line <= own
            else f"{other}:{each.line - own}: {each.text}"
            for each in in_order
        ]
    )


def spell(place: Place) -> str:
    """Return `place` as operators write it: `backends[2].weight`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{_spell_key(step)}" for step in place)
    return "".join(steps).removeprefix(".")


def show(value: object) -> str:
    """Return `value` for a message: on one line, short, and without control characters."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case str():
            return repr(value if len(value) <= 60 else f"{value[:57]}...")
        case dict() | list():
            return ("a" if value else "an empty") + (" mapping" if isinstance(value, dict) else " list")
        case _:
            return str(value)


def _spell_key(key: str) -> str:
    return key if _PLAIN_KEY.fullmatch(key) else show(key)


def _decode(path: Path, raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        wrong = f"byte 0x{error.object[error.start]:02x} is not UTF-8; expected text in UTF-8"
        raise refusal(path, [Mistake(line, wrong)]) from error
    if found := _FORBIDDEN.search(text):
        line = text.count("\n", 0, found.start()) + 1
        wrong = f"character U+{ord(found[0]):04X} must not stand in YAML; expected printable text"
        raise refusal(path, [Mistake(line, wrong)])
    return text


class _Composer:
    """Turns PyYAML's events into a Document.

    PyYAML's own composer expands aliases and recurses without bound, and its constructors raise whatever they meet.
    """

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._text = text
        self._events = iter(yaml.parse(text, Loader=_LOADER))
        self._lines: dict[Place, int] = {(): 1}
        self._mistakes: list[Mistake] = []
        self._unread: set[Place] = set()

    def document(self) -> Document:
        """Take all events; raises ConfigError when there is no going on."""
        try:
            value = self._only_document()
        except yaml.MarkedYAMLError as error:
            # libyaml reads ahead, and has a limit of its own.
            too_deep = "nesting depth" in str(error.problem)
            self._stop(_line(error.problem_mark), _TOO_DEEP if too_deep else f"not YAML: {_syntax(error)}")
        except (ValueError, OverflowError):  # PyYAML without libyaml converts before it checks
            self._stop(1, "not YAML: an escape or a version is out of range; expected text that needs neither")
        return Document(self._path, self._text, value, self._lines, tuple(self._mistakes), frozenset(self._unread))

    def _stop(self, line: int, text: str) -> NoReturn:
        raise refusal(self._path, [*self._mistakes, Mistake(line, text)])

    def _only_document(self) -> object:
        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        root = next(self._events)
        self._lines[()] = _line(root.start_mark)
        value = self._node(root, ())
        next(self._events)
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            self._stop(_line(after.start_mark), "a second document begins here; expected one document in the file")
        return value

    def _node(self, event: yaml.Event, place: Place) -> object:
        line = self._lines.setdefault(place, _line(event.start_mark))
        if isinstance(event, yaml.AliasEvent):
            self._not_read(place, line, f"the alias *{event.anchor} is not followed")
            return None
        if isinstance(event, yaml.ScalarEvent):
            value: object = _scalar(event)
        elif len(place) == DEEPEST_NESTING:
            self._stop(line, _TOO_DEEP)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(place)
        else:
            value = self._mapping(place)
        if tag := getattr(event, "tag", None):
            self._not_read(place, line, f"the tag {show(tag)} is not used here")
            return None
        return value

    def _not_read(self, place: Place, line: int, text: str) -> None:
        self._unread.add(place)
        self._mistakes.append(Mistake(line, f"{spell(place) or 'the file'}: {text}; expected the value written out"))

    def _sequence(self, place: Place) -> list[object]:
        items: list[object] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*place, len(items))))
        return items

    def _mapping(self, place: Place) -> dict[str, object]:
        mapping: dict[str, object] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            line = _line(event.start_mark)
            if not isinstance(event, yaml.ScalarEvent):
                self._stop(
                    line, "a key is a list, a mapping or an alias; expected a word (text with { [ * needs quotes)"
                )
            where = (*place, event.value)
            first = self._lines.setdefault(where, line)
            value = self._node(next(self._events), where)
            if event.value in mapping:
                wrong = f"{spell(where)}: stands in line {first} already; expected each key only once"
                self._mistakes.append(Mistake(line, wrong))
            mapping.setdefault(event.value, value)
        return mapping


def _scalar(event: yaml.ScalarEvent) -> str | int | float | bool | None:
    return plain(event.value) if event.implicit[0] else event.value


def _line(mark: _Mark | None) -> int:
    return mark.line + 1 if mark else 1


def _syntax(error: yaml.MarkedYAMLError) -> str:
    context = error.context or ""
    if error.context_mark and _line(error.context_mark) != _line(error.problem_mark):
        context += f" begun in line {_line(error.context_mark)}"
    problem = ", ".join(filter(None, (context, error.problem)))
    return f"{problem}; expected quotes around text with : # [ ] {{ }} @ and spaces as indents"
