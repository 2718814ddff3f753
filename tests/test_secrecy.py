"""tests/secrecy.py: a secret is found, whoever wrote it and however."""

import base64
import json
import traceback
from datetime import UTC, datetime
from urllib.parse import quote

import pytest

from ntspool.app.throwaway import Authority
from ntspool.wire.secret import Secret
from tests import secrecy

SECRET = bytes.fromhex("00ff7f2722805c0a4b6c9de1d2c3fba5960718293a4b5c6d7e8f90a1b2c3d4fe")
ASCII = b"f0Qz_-9+/=?&;'\"x0123456789abcdef"


def _traceback(secret):
    try:
        int(secret.decode("latin-1"), 99)
    except ValueError as error:
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format()).encode()


WAYS = {
    "raw": lambda each: each,
    "raw, cut off": lambda each: each[:14],
    "its end": lambda each: each[-14:],
    "hex": lambda each: each.hex().encode(),
    "HEX": lambda each: each.hex().upper().encode(),
    "hex with colons": lambda each: each.hex(":").encode(),
    "HEX with colons": lambda each: each.hex(":").upper().encode(),
    "base64": base64.b64encode,
    "base64, one byte later": lambda each: base64.b64encode(b"x" + each),
    "base64, two bytes later": lambda each: base64.b64encode(b"xy" + each + b"z"),
    "base64url": base64.urlsafe_b64encode,
    "base64url, one byte later": lambda each: base64.urlsafe_b64encode(b"x" + each + b"yz"),
    "base64url, two bytes later": lambda each: base64.urlsafe_b64encode(b"xy" + each),
    "base64 in lines": lambda each: base64.encodebytes(bytes(31) + each),
    "repr": lambda each: repr(each).encode(),
    "repr of a value around it": lambda each: repr([{"key": each + b"'"}]).encode(),
    "JSON": lambda each: json.dumps({"key": each.decode("latin-1")}).encode(),
    "JSON in UTF-8": lambda each: json.dumps(each.decode("latin-1"), ensure_ascii=False).encode(),
    "JSON in a JSON log line": lambda each: json.dumps({"event": json.dumps(each.decode("latin-1"))}).encode(),
    "percent": lambda each: quote(each).encode(),
    "percent, nothing safe": lambda each: quote(each, safe="").encode(),
    "percent, of UTF-8": lambda each: quote(each.decode("latin-1")).encode(),
    "percent, each byte": lambda each: "".join(f"%{byte:02x}" for byte in each).encode(),
    "number": lambda each: str(int.from_bytes(each, "big")).encode(),
    "number, little end first": lambda each: str(int.from_bytes(each, "little")).encode(),
    "number, in hex": lambda each: hex(int.from_bytes(each, "big")).encode(),
    "list of numbers": lambda each: str(list(each)).encode(),
    "a traceback with local variables": _traceback,
}


@pytest.mark.parametrize("secret", [SECRET, ASCII], ids=["bytes", "text"])
@pytest.mark.parametrize("write", WAYS.values(), ids=WAYS)
def test_it_is_found(write, secret):
    data = b"before \0" + write(secret) + b" after"
    assert {
        each.split(" as ")[0]
        for each in secrecy.found({"key": secret, "other": bytes(each ^ 0x5A for each in secret)}, data)
    } == {"key"}
    with pytest.raises(AssertionError, match="the log: key as ") as caught:
        secrecy.check({"key": secret}, {"the log": data, "elsewhere": b"nothing"})
    assert secrecy.found({"key": secret}, str(caught.value).encode()) == set()


def test_nothing_is_found_where_nothing_is():
    assert secrecy.found({"key": SECRET}, bytes(range(256)) * 9 + repr(Secret(SECRET)).encode()) == set()


def test_what_would_be_found_by_chance_is_refused():
    with pytest.raises(ValueError, match="so little"):
        secrecy.found({"key": b"short"}, b"")


def test_the_number_of_a_private_key_is_in_its_pem(tmp_path):
    now = datetime.now(UTC)
    pem = Authority.make(now).issue(["localhost"], [], tmp_path, now)[1].read_bytes()
    assert secrecy.found({"key": secrecy.private_key(pem)}, pem)
