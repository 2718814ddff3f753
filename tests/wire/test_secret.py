"""ntspool/wire/secret.py: what shows of a secret, and to whom."""

import ast
import asyncio
import copy
import dataclasses
import json
import pickle
import re
import socket
import traceback
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

import ntspool
from ntspool.net.channel import Channel
from ntspool.wire.secret import NO_SECRET, Secret

ROOT = Path(ntspool.__file__).parent

VALUE = b"the very secret of all these bytes"
SECRET = Secret(VALUE)
SHOWN = "Secret(34 bytes)"


@dataclasses.dataclass(frozen=True, slots=True)
class _Holder:
    name: str
    key: Secret


def test_whoever_uses_it_gets_the_bytes():
    assert SECRET.reveal() == VALUE
    assert len(SECRET) == len(VALUE)
    assert NO_SECRET.reveal() == b""
    assert not NO_SECRET


@pytest.mark.parametrize("show", [repr, str, ascii, format, "{:>50}".format, "{!r:9}".format, lambda each: f"{each}"])
def test_as_text_it_is_its_length(show):
    assert show(SECRET).strip() == SHOWN


def test_what_holds_it_shows_no_more():
    holder = _Holder("ntp-1", SECRET)
    assert repr(holder) == f"_Holder(name='ntp-1', key={SHOWN})"
    assert f"{holder} {[{SECRET: SECRET}]!r}" == f"{holder} [{{{SHOWN}: {SHOWN}}}]"
    with pytest.raises(TypeError) as caught:
        len(holder, SECRET)
    told = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "reveal" not in told
    assert f"key={SHOWN}" in told
    assert "very secret" not in told


def test_what_checks_it_shows_no_more():
    class Model(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        number: int

    with pytest.raises(ValidationError) as caught:
        Model(number=SECRET)
    assert "very secret" not in str(caught.value) + repr(caught.value.errors())


@pytest.mark.parametrize(
    "write",
    [
        pickle.dumps,
        lambda each: pickle.dumps([each], protocol=0),
        json.dumps,
        copy.copy,
        copy.deepcopy,
        dataclasses.asdict,
        bytes,
        bytearray,
        list,
        memoryview,
        b"".join,
        lambda each: b"" + each,
        lambda each: each[0],
        vars,
    ],
)
def test_nobody_gets_it_who_does_not_know_that_it_is_one(write):
    holder = _Holder("ntp-1", SECRET) if write is dataclasses.asdict else SECRET
    with pytest.raises(TypeError) as caught:
        write(holder)
    assert "very secret" not in str(caught.value)


def test_it_equals_secrets_only_and_cannot_change():
    assert Secret(bytes(bytearray(VALUE))) == SECRET
    assert hash(SECRET) == hash(Secret(VALUE))
    assert Secret(VALUE + b"\0") != SECRET
    assert Secret(VALUE[:-1] + b"\0") != SECRET
    assert SECRET != VALUE
    assert VALUE != SECRET
    with pytest.raises(AttributeError):
        SECRET.value = b""
    with pytest.raises(AttributeError):
        SECRET.reveal = None


HIDDEN = {"secret", "root", "token", "tokens", "password", "private", "c2s", "s2c"}
PLAIN = re.compile(r"(?:tuple\[)?(?:str|bytes)(?:, \.\.\.\])?(?: \| None)?")


def plain_secrets(source):
    """Return the fields of classes in `source` that are secret by their names and not by their types."""
    fields = (
        each
        for found in ast.walk(ast.parse(source))
        if isinstance(found, ast.ClassDef)
        for each in found.body
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    )
    return [
        each.target.id
        for each in fields
        if each.target.id.strip("_") in HIDDEN and PLAIN.fullmatch(ast.unparse(each.annotation))
    ]


def test_no_value_holds_a_secret_in_another_type():
    found = {str(path): plain_secrets(path.read_text()) for path in ROOT.rglob("*.py")}
    assert len(found) > 200
    assert {path: names for path, names in found.items() if names} == {}


def test_one_that_did_would_be_found():
    source = (
        "class A:\n    root: bytes = field(repr=False)\n    token: str | None\n    password: Path\n    key: Secret\n"
    )
    assert plain_secrets(source) == ["root", "token"]


def test_only_the_channel_of_the_workers_carries_one():
    ours, theirs = socket.socketpair()

    async def scene():
        one, other = await Channel.open(ours), await Channel.open(theirs)
        await one.send(_Holder("ntp-1", SECRET))
        found = await other.receive()
        one.close()
        other.close()
        return found

    assert asyncio.run(scene()) == _Holder("ntp-1", SECRET)
