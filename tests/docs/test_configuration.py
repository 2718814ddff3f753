"""The page on configuration has every key with its true default, and every snippet of the manual is one that loads."""

import re
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from ntspool.app.throwaway import Authority
from ntspool.config import Config, load
from tests.docs.manual import DOCS, blocks, inline_code, pages
from tests.interop.nameservers import write_key
from tests.net.mmdb import mmdb, place

_ROW = re.compile(r"^\| `([^`]+)` \| (.*?) \|", re.MULTILINE)
_LITERAL = re.compile(r"`([^`]+)`")

MINIMAL = {
    "pool": {"names": ["ntp-pool.example.com"]},
    "tls": [{"certificate": "fullchain.pem", "key": "privkey.pem"}],
    "backends": [{"name": "ntp-1", "address": "192.0.2.1"}, {"name": "ntp-2", "address": "192.0.2.2"}],
}


def rows():
    return dict(_ROW.findall((DOCS / "configuration.md").read_text()))


def declared_keys(model: type[BaseModel] = Config, before: str = "") -> set[str]:
    """Return the path of every key that the models declare, `[]` for any item of a list."""
    found = set()
    for name, field in model.model_fields.items():
        path = f"{before}{name}"
        inner = next((each for each in (field.annotation, *get_args(field.annotation)) if is_model(each)), None)
        listed = inner is not None and inner is not field.annotation
        if inner is None or listed:
            found.add(path)
        if inner is not None:
            found |= declared_keys(inner, f"{path}[]." if listed else f"{path}.")
    return found


def is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def test_the_page_has_every_key_and_no_other():
    assert rows().keys() == declared_keys()


LITERALS = {key: found[1] for key, cell in rows().items() if (found := _LITERAL.fullmatch(cell))}


@pytest.mark.parametrize("key", LITERALS)
def test_a_default_that_is_written_down_changes_nothing(key, folder):
    stated = yaml.safe_load(yaml.safe_dump(MINIMAL))
    spot: Any = stated
    *folders, last = key.replace("[]", ".0").split(".")
    for step in folders:
        spot = spot[int(step)] if step.isdigit() else spot.setdefault(step, {})
    assert last not in spot
    spot[last] = yaml.safe_load(LITERALS[key])
    assert loaded(yaml.safe_dump(stated), folder) == loaded(yaml.safe_dump(MINIMAL), folder)


def test_required_keys_are_the_ones_that_are_required():
    assert {key for key, cell in rows().items() if cell == "required"} == {
        *("pool.names", "tls", "tls[].certificate", "tls[].key", "listen[].address"),
        *("backends", "backends[].name", "backends[].address"),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with the files that configurations of the manual name."""
    folder = tmp_path_factory.mktemp("etc")
    names = ["ntp.example.com", "*.example.com", "*.ntp-pool.example.com"]
    Authority.make(datetime.now(UTC)).issue(names, [], folder, datetime.now(UTC))
    (folder / "tokens").mkdir()
    (folder / "tokens" / "ntp-9").touch(mode=0o600)
    (folder / "tokens" / "ntp-9").write_text("0123456789abcdef" * 4)
    (folder / "GeoLite2-Country.mmdb").write_bytes(mmdb({"198.51.100.0/24": place("DE", "EU")}))
    write_key(folder / "tsig.key")
    return folder


def loaded(text, folder):
    path = folder / "backends.yaml"
    path.write_text(text.replace("/etc/ntspool/tls", str(folder)).replace("/etc/ntspool/tsig", f"{folder}/tsig"))
    return load(path)


def framed(text):
    """Return configuration with what is missing to make it whole."""
    stated = yaml.safe_load(text)
    assert stated.keys() <= Config.model_fields.keys()
    missing = {key: each for key, each in MINIMAL.items() if key not in stated}
    return "\n".join([text, *(yaml.safe_dump({key: each}) for key, each in missing.items())])


SNIPPETS = [block for page in pages() for block in blocks(page) if block.language == "yaml"]
PROSE = [
    block
    for page in pages()
    for block in inline_code(page)
    if re.match(r"\w+: [{\[](?!.*: \.\.\.)", block.text) and block.text.partition(":")[0] in Config.model_fields
]


@pytest.mark.parametrize("block", [*SNIPPETS, *PROSE], ids=str)
def test_a_snippet_loads_in_a_minimal_frame(block, folder):
    loaded(framed(re.sub(r"\b(FILE|PATH)\b", "privkey.pem", block.text).replace("[...]", "[192.0.2.0/24]")), folder)
