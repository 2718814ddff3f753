"""HTML and SVG, made so that it nests and that nothing gets in unescaped."""

from html import escape

_VOID = {"meta", "link", "br", "hr"}


class Markup(str):
    """Text that is HTML already; every other string is escaped when it gets into an element."""

    __slots__ = ()


Child = str | int | None
"""What an element can hold: None is nothing."""


def element(name: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """Return an element.

    An attribute's underscores stand for hyphens, but for a final one, as in `class_`; one that is None is left out, and
    one that is empty has no value.
    """
    stated = "".join(
        f" {key.rstrip('_').replace('_', '-')}{_value(value)}" for key, value in attributes.items() if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{stated}>")
    return Markup(f"<{name}{stated}>{join(*children)}</{name}>")


def join(*children: Child) -> Markup:
    """Return the children one after the other."""
    return Markup("".join(map(_escaped, children)))


def _escaped(child: Child) -> str:
    if child is None:
        return ""
    return child if isinstance(child, Markup) else escape(str(child))


def _value(value: str | float) -> str:
    text = f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
    return f'="{escape(text)}"' if text else ""
