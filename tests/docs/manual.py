"""The manual as tests see it: its pages, and what stands in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).parents[2]
DOCS = TOP / "docs"
README = TOP / "README.md"

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:(?<=\n\n)|(?<=-->\n))(?:    .*\n|\n(?=    ))+")
_INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


INDENTED = "indented"
"""The language of indented blocks, which in this manual are commands."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code: its language, empty if not told, its text, and the page and line where it begins."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(TOP)}:{self.line}"


def pages() -> list[Path]:
    """Return every page that users read: the README, the manual, and the man pages' sources."""
    return [README, *sorted(DOCS.rglob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced and the indented blocks of a page."""
    text = page.read_text()
    for found in _FENCE.finditer(text):
        yield Block(page, _line(text, found.start()), found["language"], found["text"])
    for found in _INDENTED.finditer(without_fences(text)):
        yield Block(page, _line(text, found.start()), INDENTED, re.sub(r"^    ", "", found[0], flags=re.MULTILINE))


def inline_code(page: Path) -> Iterator[Block]:
    """Yield what stands between backticks in a page's prose."""
    text = without_fences(page.read_text())
    for found in _INLINE.finditer(text):
        yield Block(page, _line(text, found.start()), "", found[1])


def without_fences(text: str) -> str:
    """Return a page's text with its fenced blocks empty; every line stays where it is."""
    return _FENCE.sub(lambda found: "\n" * found[0].count("\n"), text)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as forges make them."""
    headings = _HEADING.findall(without_fences(page.read_text()))
    plain = (re.sub(r"[^\w\- ]", "", each.lower()) for each in headings)
    return {each.replace(" ", "-") for each in plain}


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
