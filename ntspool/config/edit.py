"""backends.yaml with one backend more, one less, or one that changed, and every other character as it was.

Nothing is read or written here. What an edit yields is parsed and compared with what was wanted before anybody gets to
see it: YAML can be written in more ways than are understood here, and whoever uses those is told to use an editor.
"""

import copy
import re
from collections.abc import Mapping
from typing import Any

import yaml

from ntspool.config import spelling, splice, yamlfile
from ntspool.config.spans import Lines, collection, content_end
from ntspool.config.spelling import Value
from ntspool.config.splice import Splice
from ntspool.config.yamlfile import Document, Mistake
from ntspool.errors import ConfigError, LocalError, RefusedError

_COLON = re.compile(r"\s*:")


def add(document: Document, backend: Mapping[str, Value]) -> str:
    """Return the text of `document` with `backend` at the end of its backends, written as the last one there is.

    Raises ConfigError when it has no list of backends, RefusedError when it is written in a way not known here.
    """
    backends, text = _Backends(document), document.text
    last: yaml.Node = backends.node.value[-1]
    pairs = spelling.pairs(backend, spelling.quote_in(last))
    opening = text[backends.whole.entries[-1].start : last.start_mark.index]
    indent = " " * backends.whole.column
    if not isinstance(last, yaml.MappingNode) or last.flow_style:
        pad = " " if text[last.start_mark.index + 1 : last.start_mark.index + 2] == " " else ""
        in_line = f"{{{pad}{', '.join(pairs)}{pad}}}"
        dash = "" if backends.whole.flow else _dash(opening)
        entry = [in_line if backends.whole.flow else f"{indent}{dash}{in_line}"]
    else:
        dash = _dash(opening)
        entry = [indent + dash + pairs[0], *(indent + " " * len(dash) + each for each in pairs[1:])]
    apart = not backends.whole.flow and splice.stands_apart(
        backends.lines, backends.whole, len(backends.whole.entries) - 1
    )
    wanted = [*backends.values, {**backend}]
    return _checked(document, splice.append(backends.lines, backends.whole, entry, apart=apart), wanted)


def remove(document: Document, name: str) -> str:
    """Return the text of `document` without the backend `name`, which may be that of its SRV entry, and its comments.

    Raises as `add` does, LocalError when there is no such backend, and RefusedError when it is the only one.
    """
    backends = _Backends(document)
    index = backends.index(name)
    if len(backends.values) == 1:
        raise RefusedError(f"{name} is the only backend; a pool needs one, so add another one first")
    wanted = [*backends.values[:index], *backends.values[index + 1 :]]
    return _checked(document, splice.take_out(backends.lines, backends.whole, index), wanted)


def change(document: Document, name: str, changes: Mapping[str, Value | None]) -> str:
    """Return the text of `document` with keys of the backend `name` set, or taken out where they are None.

    `ke.token` is the key `token` in the mapping at `ke`. What is so already stays as it is written. Raises as `remove`
    does.
    """
    for key, value in changes.items():
        text = _change(document, name, key, value)
        if text != document.text:
            document = yamlfile.parse(document.path, text.encode())
    return document.text


def names(document: Document) -> list[str]:
    """Return the names of the backends, and the SRV names of those that have none; raises ConfigError."""
    return [_name(each) for each in _Backends(document).values]


class _Backends:
    """The list of backends in a document; raises ConfigError when there is none."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.values: list[Any] = []
        self.node = self._list()
        self.lines = Lines(document.text)
        self.whole = collection(self.lines, self.node)

    def _list(self) -> yaml.SequenceNode:
        if self._document.unread:  # an alias or a tag
            raise yamlfile.refusal(self._document.path, self._document.mistakes)
        try:
            root = yamlfile.nodes(self._document)
        except yaml.YAMLError as error:  # two anchors of one name
            raise _not_understood(self._document) from error
        found = [value for key, value in _pairs(root) if key.value == "backends"]
        stated = self._document.at("backends")
        if not found or not isinstance(found[0], yaml.SequenceNode) or not isinstance(stated, list) or not stated:
            place = self._document.line(("backends",))
            wanted = "backends: expected a list of {name: NAME, address: ADDRESS} with at least one item"
            raise yamlfile.refusal(self._document.path, [Mistake(place, wanted)])
        self.values = stated
        return found[0]

    def index(self, name: str) -> int:
        """Return where the backend `name` stands; raises LocalError when that is nowhere, or not the only place."""
        known = [_name(each) for each in self.values]
        if name and known.count(name) > 1:
            raise LocalError(f"{name!r} stands more than once in {self._document.path}; mend that by hand")
        if not name or name not in known:
            there = ", ".join(filter(None, known))
            raise LocalError(f"there is no backend {name!r} in {self._document.path}; there are {there}")
        return known.index(name)


def _change(document: Document, name: str, key: str, value: Value | None) -> str:
    backends = _Backends(document)
    index = backends.index(name)
    stated: dict[str, Any] = backends.values[index]
    key, value = _outer(stated, key, value)
    if (key not in stated) if value is None else (key in stated and _same(stated[key], value)):
        return document.text
    node: yaml.MappingNode = backends.node.value[index]
    whole, lines = collection(backends.lines, node), backends.lines
    keys = [each.value for each, _ in _pairs(node)]
    quote = spelling.quote_in(node)
    if value is None:
        splices = splice.take_out(lines, whole, keys.index(key))
    elif key in stated:
        name_of_key, old = node.value[keys.index(key)]
        splices = _replace(lines, name_of_key, old, value, quote)
    else:
        indent = "" if whole.flow else " " * whole.column
        splices = splice.append(lines, whole, [indent + spelling.pairs({key: value}, quote)[0]])
    fresh = {each: inner for each, inner in {**stated, key: value}.items() if inner is not None or each != key}
    return _checked(document, splices, [*backends.values[:index], fresh, *backends.values[index + 1 :]])


def _outer(stated: Mapping[str, Any], key: str, value: Value | None) -> tuple[str, Value | None]:
    """Return the key of a backend and its value once `key`, which may be one of an inner mapping, has `value`."""
    outer, dot, inner = key.partition(".")
    if not dot:
        return key, value
    before = stated.get(outer)
    after = {**(before if isinstance(before, dict) else {}), inner: value}
    return outer, {name: each for name, each in after.items() if each is not None} or None


def _replace(lines: Lines, key: yaml.Node, old: yaml.Node, value: Value, quote: str) -> list[Splice]:
    """Put a value in the place of another one; a list of several lines stays one, text in quotes stays in quotes."""
    text, start, end = lines.text, old.start_mark.index, content_end(lines.text, old)
    if isinstance(old, yaml.SequenceNode) and not old.flow_style and not isinstance(value, str | int | Mapping):
        gap = lines.line_break(lines.number(start)) + " " * collection(lines, old).column
        return [(start, end, gap.join(f"- {spelling.scalar(each, quote)}" for each in value))]
    in_quotes = isinstance(old, yaml.ScalarNode) and old.style in {"'", '"'} and isinstance(value, str)
    new = spelling.quoted(str(value), quote) if in_quotes else spelling.flow(value, quote)
    if lines.number(start) == lines.number(key.end_mark.index) and start < end:
        return [(start, end, new)]
    colon = _COLON.match(text, key.end_mark.index)
    if colon is None:  # a key alone, as flow style allows
        return [(key.end_mark.index, key.end_mark.index, f": {new}")]
    behind = colon.end()
    rest = max(behind, len(text[:start].rstrip()))
    return [(behind, behind, f" {new}"), *([(rest, end, "")] if start < end else [])]


def _checked(document: Document, splices: list[Splice], wanted: list[Any]) -> str:
    """Return the text with `splices` if it then says what it said before, but for the backends, which are `wanted`."""
    text = splice.apply(document.text, splices)
    expected = copy.copy(document.value)
    if isinstance(expected, dict):
        expected["backends"] = wanted
    try:
        found = yamlfile.parse(document.path, text.encode()).value
    except ConfigError:
        found = None
    if not _same(found, expected):
        raise _not_understood(document)
    return text


def _not_understood(document: Document) -> RefusedError:
    return RefusedError(f"{document.path} is written in a way that only people can edit; use an editor")


def _same(one: object, other: object) -> bool:
    """Tell whether two values of YAML are the same; to Python, 1, 1.0 and true are."""
    match one, other:
        case dict(), dict():
            return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
        case list() | tuple(), list() | tuple():
            return len(one) == len(other) and all(map(_same, one, other))
        case _:
            return type(one) is type(other) and one == other


def _pairs(node: yaml.Node | None) -> list[tuple[yaml.Node, yaml.Node]]:
    return node.value if isinstance(node, yaml.MappingNode) else []


def _name(backend: object) -> str:
    stated = backend if isinstance(backend, dict) else {}
    return str(stated.get("name") or stated.get("srv") or "")


def _dash(opening: str) -> str:
    """Return how an item begins: as the one before, or usually if that one has its dash in a line of its own."""
    return opening if set(opening) <= {"-", " "} and len(opening) > 1 else "- "
