"""Where the targets are; those that are quick to import come first."""

from importlib import import_module

MODULES = (
    *("negotiation", "poolprotocol", "packets", "cookies", "cluster", "examined", "zone"),
    *("tlsbytes", "certificates", "kept", "files", "messages"),
)


def targets():
    """Yield every target, from one module after the other."""
    for name in MODULES:
        yield from import_module(f"tests.fuzz.{name}").TARGETS


def find(name):
    """Return a target; instrumented code is slow to import, so no more modules are than it takes."""
    return next(each for each in targets() if each.name == name)
