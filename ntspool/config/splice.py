"""Putting entries into YAML lists and mappings and taking them out, with every other character left as it is.

What is put in goes behind the last entry. Taking out the last entry undoes that, to the character.
"""

import re
from collections.abc import Iterable, Sequence

from ntspool.config.spans import Collection, Lines, own_lines

Splice = tuple[int, int, str]
"""What stands from the first index up to the second one is replaced by a text."""

_BETWEEN = re.compile(r"(?:\s+|#[^\r\n\x85\u2028\u2029]*)*")


def apply(text: str, splices: Iterable[Splice]) -> str:
    """Return `text` with `splices`, which do not overlap; of two at one place, the first one's text comes first."""
    for start, end, new in sorted(splices, key=lambda splice: splice[:2])[::-1]:
        text = text[:start] + new + text[end:]
    return text


def append(lines: Lines, whole: Collection, entry: Sequence[str], *, apart: bool = False) -> list[Splice]:
    """Put in an entry, whose lines have their indents already; in flow style it is one line without an indent.

    `apart` puts a blank line in front of it, in block style.
    """
    return _append_flow(lines, whole, entry[0]) if whole.flow else _append_block(lines, whole, entry, apart=apart)


def take_out(lines: Lines, whole: Collection, index: int) -> list[Splice]:
    """Take out the entry `index`, which is not the only one, with its comments and comma.

    A blank line above it goes as well if another one, or no entry, follows; that below it if it is the first.
    """
    return _take_out_flow(lines, whole, index) if whole.flow else _take_out_block(lines, whole, index)


def stands_apart(lines: Lines, whole: Collection, index: int) -> bool:
    """Tell whether a blank line stands between an entry in block style and the one before."""
    first, _ = own_lines(lines, whole, index)
    return index > 0 and lines.is_blank(first - 1)


def _append_block(lines: Lines, whole: Collection, entry: Sequence[str], *, apart: bool) -> list[Splice]:
    _, last = own_lines(lines, whole, len(whole.entries) - 1)
    wanted = ["", *entry] if apart else entry
    end, ends = lines.end(last), lines.line_break(last)
    return [(end, end, "".join(ends + each for each in wanted))]


def _take_out_block(lines: Lines, whole: Collection, index: int) -> list[Splice]:
    entry = whole.entries[index]
    first, last = own_lines(lines, whole, index)
    if not lines.begins_line(entry.start):  # the first pair of an item stands behind its dash
        return [_take_out_behind_dash(lines, whole)]
    if stands_apart(lines, whole, index) and (index == len(whole.entries) - 1 or lines.is_blank(last + 1)):
        first -= 1
    elif index == 0 and lines.is_blank(last + 1):
        last += 1
    if lines.end(last) == len(lines.text):  # a file that ended without a line break still does
        return [(lines.end(first - 1) if first else 0, len(lines.text), "")]
    return [(lines.start(first), lines.start(last + 1), "")]


def _take_out_behind_dash(lines: Lines, whole: Collection) -> Splice:
    entry, after = whole.entries[:2]
    if lines.text[entry.end : after.start].strip():  # a comment, which may be about what follows
        return len(lines.text[: entry.start].rstrip()), entry.end, ""
    return entry.start, after.start, ""


def _append_flow(lines: Lines, whole: Collection, entry: str) -> list[Splice]:
    last = whole.entries[-1]
    comma = _comma(lines, last.end)
    end = last.end if comma is None else comma + 1
    gap, place = " ", end
    if lines.begins_line(last.start):
        gap = lines.line_break(lines.number(last.start)) + " " * (last.start - lines.start(lines.number(last.start)))
        place = lines.end(lines.number(end)) if lines.ends_line(end) else end
    if comma is None:
        return [(end, end, ","), (place, place, gap + entry)] if place > end else [(end, end, f",{gap}{entry}")]
    return [(place, place, f"{gap}{entry},")]


def _take_out_flow(lines: Lines, whole: Collection, index: int) -> list[Splice]:
    entry, is_last = whole.entries[index], index == len(whole.entries) - 1
    comma = _comma(lines, entry.end)
    end = entry.end if comma is None else comma + 1
    before = _comma(lines, whole.entries[index - 1].end) if index else None
    spare = [(before, before + 1, "")] if before is not None and comma is None else []
    if lines.begins_line(entry.start) and lines.ends_line(end):
        first, _ = own_lines(lines, whole, index)
        return [*spare, (lines.start(first), lines.start(lines.number(end - 1) + 1), "")]
    if is_last and before is not None:
        kept = before if comma is None else before + 1
        if not lines.text[before + 1 : entry.start].strip():
            return [(kept, end, "")]
        return [*spare, (entry.start, end, "")]
    while end < lines.end(lines.number(entry.end)) and lines.text[end] in " \t":
        end += 1
    return [(entry.start, end, "")]


def _comma(lines: Lines, index: int) -> int | None:
    """Return where the comma behind an entry in flow style stands; None if there is none."""
    found = _BETWEEN.match(lines.text, index)
    end = found.end() if found else index
    return end if lines.text[end : end + 1] == "," else None
