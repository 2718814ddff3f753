"""What a stranger calls himself, made safe to show."""


def printable(text: str) -> str:
    """Return text in which everything that a terminal would obey or not show is written as an escape, as in Python."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)
