"""Values as they are written into backends.yaml: in quotes where YAML would take them for something else without."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ntspool.config import yamlfile

Scalar = str | int
Value = Scalar | Sequence[Scalar] | Mapping[str, Scalar]
"""What the keys of a backend hold."""

_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./+-]*")


def scalar(value: Scalar, quote: str = '"') -> str:
    """Return a value as it can stand everywhere; `quote` is the kind of quotes for text that needs some.

    Programs that read YAML 1.1 take it for the same: to them, `no` without quotes is false.
    """
    if isinstance(value, int):
        return str(value)
    return value if _PLAIN.fullmatch(value) and _is_text(value) else quoted(value, quote)


def _is_text(plain: str) -> bool:
    try:
        return yamlfile.plain(plain) == plain and yaml.safe_load(plain) == plain
    except (ValueError, yaml.YAMLError):  # a date that does not exist, a mark of YAML's own
        return False


def quoted(text: str, quote: str = '"') -> str:
    """Return `text` in quotes: in double ones, too, where others will not do."""
    if quote == "'" and text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(_escaped(each) for each in text) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08x}"


def flow(value: Value, quote: str = '"') -> str:
    """Return a value in one line: a list in brackets, a mapping in braces."""
    if isinstance(value, str | int):
        return scalar(value, quote)
    if isinstance(value, Mapping):
        return f"{{{', '.join(pairs(value, quote))}}}"
    return f"[{', '.join(scalar(each, quote) for each in value)}]"


def pairs(mapping: Mapping[str, Any], quote: str = '"') -> list[str]:
    """Return each key with its value in one line."""
    return [f"{scalar(key)}: {flow(value, quote)}" for key, value in mapping.items()]


def quote_in(node: yaml.Node) -> str:
    """Return the quotes that are used in a node, double ones if there are none."""
    if isinstance(node, yaml.ScalarNode):
        return "'" if node.style == "'" else '"'
    inner = node.value if isinstance(node, yaml.SequenceNode) else [each for pair in node.value for each in pair]
    return "'" if any(quote_in(each) == "'" for each in inner) else '"'
