"""What guided runs have found worth keeping: a text file for each target, one case a line, in hexadecimal."""

from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"


def path_of(name):
    """Return where the cases of the target `name` are kept."""
    return FOLDER / f"{name.replace(' ', '-').replace(chr(39), '')}.hex"


def load(name):
    """Return the kept cases of a target; none if it has none yet."""
    path = path_of(name)
    return [bytes.fromhex(line) for line in path.read_text().splitlines()] if path.exists() else []


def save(name, cases):
    """Keep these cases of a target, and no others."""
    FOLDER.mkdir(exist_ok=True)
    path_of(name).write_text("".join(f"{each.hex()}\n" for each in sorted(cases, key=lambda case: (len(case), case))))
