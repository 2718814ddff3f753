"""Imports only go down: wire < pool < net < app; config stands beside net, and only app looks into it."""

import ast
import sys
from pathlib import Path

import pytest

import ntspool

BELOW = {
    "errors": set(),
    "wire": {"errors"},
    "pool": {"errors", "wire"},
    "net": {"errors", "wire", "pool"},
    "config": {"errors", "wire", "pool", "net"},
    "app": {"errors", "wire", "pool", "net", "config"},
    "__main__": {"app"},
    "__init__": set(),
}
# Neither waiting nor clocks, chance, sockets or files: state and bytes in, values out.
PURE = sys.stdlib_module_names - {"asyncio", "ssl", "socket", "time", "random", "secrets", "os", "logging"}
# What else these floors may import; the others may import anything.
FOREIGN = {"errors": PURE, "wire": PURE, "pool": PURE | {"cryptography"}, "__init__": PURE}

ROOT = Path(ntspool.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))


def imports(source):
    """Return the names of all that `source` imports, wherever in it; of `from a import b` that is `a.b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def trespasses(floor, source):
    """Return the imports of `source` that `floor` does not allow; relative ones nowhere are."""
    found = set()
    for name in imports(source):
        package, inner = [*name.split("."), ""][:2]
        if package == "ntspool":
            allowed = inner not in BELOW or inner == floor or inner in BELOW[floor]
        else:
            allowed = package and package in FOREIGN.get(floor, {package})
        if not allowed:
            found.add(name)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_go_down(path):
    floor = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert floor in BELOW
    assert trespasses(floor, path.read_text()) == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_is_longer_than_400_lines(path):
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize(
    ("floor", "source", "name"),
    [
        ("wire", "from ntspool.pool.cookies import CookieKey", "ntspool.pool.cookies.CookieKey"),
        ("wire", "def f():\n    import ntspool.net.tls as tls", "ntspool.net.tls"),
        ("wire", "from ntspool import errors, pool", "ntspool.pool"),
        ("wire", "import struct, socket", "socket"),
        ("wire", "if TYPE_CHECKING:\n    from os import PathLike", "os.PathLike"),
        ("wire", "from cryptography.exceptions import InvalidTag", "cryptography.exceptions.InvalidTag"),
        ("pool", "from cryptography import x509\nfrom ntspool.net import tls", "ntspool.net.tls"),
        ("pool", "import asyncio.events", "asyncio.events"),
        ("pool", "import yaml", "yaml"),
        ("net", "import yaml\nfrom ntspool.app.gateway import Gateway", "ntspool.app.gateway.Gateway"),
        ("net", "from ntspool import config", "ntspool.config"),
        ("config", "from ntspool.net import tls\nimport ntspool.app", "ntspool.app"),
        ("errors", "from ntspool.wire.aead import Aead", "ntspool.wire.aead.Aead"),
        ("app", "from ntspool import __version__, config\nfrom . import gateway", "..gateway"),
    ],
)
def test_a_trespass_is_found(floor, source, name):
    assert trespasses(floor, source) == {name}
