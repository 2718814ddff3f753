"""What terminals get: nothing that could command them, and colours, which repeat what the words say."""

import os
import re
from typing import TextIO

_RED, _YELLOW, _GREEN = 31, 33, 32
_WORDS = {"DOWN": _RED, "FAIL": _RED, "NOT": _RED, "PANIC": _RED, "error": _RED, "Problem": _RED}
_WORDS |= {"DRAIN": _YELLOW, "MAINT": _YELLOW, "warning": _YELLOW, "UP": _GREEN}
_WORDS |= {"NOTE": _YELLOW, "SKIP": _YELLOW, "PASS": _GREEN}
_STATE = re.compile(rf"(?<![\w.-])(UP \d+/\d+|DOWN \d+/\d+|{'|'.join(_WORDS)})(?![\w.-])")


def shown(text: str, stream: TextIO) -> str:
    """Return `text` as it is to be printed to `stream`: with nothing but printable characters in its lines."""
    lines = "\n".join("".join(each if each.isprintable() else "?" for each in line) for line in text.split("\n"))
    return paint(lines) if wanted(stream) else lines


def wanted(stream: TextIO) -> bool:
    """Tell whether somebody wants to see colours there: it is a terminal, and NO_COLOR and TERM allow it."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str) -> str:
    """Return `text` with its states in red, yellow and green."""
    return _STATE.sub(lambda found: f"\x1b[{_colour(found[0])}m{found[0]}\x1b[0m", text)


def _colour(word: str) -> int:
    return _YELLOW if word.startswith("UP ") else _WORDS[word.split(maxsplit=1)[0]]
