"""Where the items of a YAML list or the pairs of a mapping begin and end in the text, and which lines are theirs."""

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

import yaml

BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
"""What ends a line for PyYAML."""

_REST = re.compile(r"[ \t]*(#.*)?")


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a text, from `start` up to but not including `end`, in characters."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Collection:
    """A list or mapping that is not empty; `column` is that of its entries, which in block style each begin a line.

    The entries of a list in block style begin with their dashes.
    """

    flow: bool
    column: int
    entries: tuple[Span, ...]


class Lines:
    """The lines of a text by number, from 0; behind a final line break an empty one follows."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._breaks = [(each.start(), each.end()) for each in BREAK.finditer(text)]
        self._starts = [0, *(end for _, end in self._breaks)]

    def number(self, index: int) -> int:
        """Return the number of the line where the character `index` stands."""
        return bisect_right(self._starts, index) - 1

    def start(self, number: int) -> int:
        """Return where a line begins; for the one behind the last, where the text ends."""
        return self._starts[number] if number < len(self._starts) else len(self.text)

    def end(self, number: int) -> int:
        """Return where a line ends, its line break not included."""
        return self._breaks[number][0] if number < len(self._breaks) else len(self.text)

    def line(self, number: int) -> str:
        """Return a line without its line break."""
        return self.text[self.start(number) : self.end(number)]

    def line_break(self, number: int) -> str:
        """Return the line break that ends a line, or one as the file has them if it is the last one."""
        start, end = (*self._breaks, (0, 0))[min(number, len(self._breaks))]
        if not end and self._breaks:
            start, end = self._breaks[0]
        return self.text[start:end] or "\n"

    def is_blank(self, number: int) -> bool:
        """Tell whether a line has nothing in it, or is none at all."""
        return not self.line(number).strip()

    def comment_column(self, number: int) -> int | None:
        """Return the column of `#` in a line that has nothing but a comment, None for other lines."""
        line = self.line(number)
        stripped = line.lstrip(" \t")
        return len(line) - len(stripped) if stripped.startswith("#") else None

    def begins_line(self, index: int) -> bool:
        """Tell whether nothing stands in front of the character `index` in its line."""
        return not self.text[self.start(self.number(index)) : index].strip()

    def ends_line(self, index: int) -> bool:
        """Tell whether nothing but a comment follows from the character `index` on in its line."""
        return _REST.fullmatch(self.text, index, self.end(self.number(index))) is not None


def collection(lines: Lines, node: yaml.CollectionNode) -> Collection:
    """Return the parts of `node`, which belongs to the text of `lines`."""
    flow, column = bool(node.flow_style), node.start_mark.column
    if isinstance(node, yaml.MappingNode):
        spans = [Span(key.start_mark.index, _last(lines.text, (key, value))) for key, value in node.value]
    elif flow:
        spans = [Span(item.start_mark.index, content_end(lines.text, item)) for item in node.value]
    else:
        spans = [Span(_dash(lines, item, column), content_end(lines.text, item)) for item in node.value]
    return Collection(flow, column, tuple(spans))


def content_end(text: str, node: yaml.Node) -> int:
    """Return where `node` ends; PyYAML has collections in block style end where the next token begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        pairs = isinstance(node, yaml.MappingNode)
        return _last(text, (each for pair in node.value for each in (pair if pairs else [pair])))
    end: int = node.end_mark.index
    return len(text[:end].rstrip()) if getattr(node, "style", None) in {"|", ">"} else end


def _last(text: str, nodes: Iterable[yaml.Node]) -> int:
    return max(content_end(text, each) for each in nodes)


def _dash(lines: Lines, item: yaml.Node, column: int) -> int:
    """Return where the dash of an item stands: in its line, or above it."""
    number = lines.number(item.start_mark.index)
    while number and not lines.line(number)[column:].startswith("-"):
        number -= 1
    return lines.start(number) + column


def own_lines(lines: Lines, whole: Collection, index: int) -> tuple[int, int]:
    """Return the first and the last line of an entry with the comments that belong to it.

    Those are the ones directly above it, up to a blank line, and below it those that are indented further than it
    is. In flow style, where indents mean nothing, all comments belong to the entry below.
    """
    entry = whole.entries[index]
    first, last = lines.number(entry.start), lines.number(max(entry.start, entry.end - 1))
    above = lines.number(whole.entries[index - 1].end - 1) + 1 if index else 0
    while first > above and (column := lines.comment_column(first - 1)) is not None:
        if column > whole.column and not whole.flow:
            break
        first -= 1
    while not whole.flow and (column := lines.comment_column(last + 1)) is not None and column > whole.column:
        last += 1
    return first, last
