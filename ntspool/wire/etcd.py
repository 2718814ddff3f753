"""What etcd's JSON gateway (API v3, etcd 3.4 and later) is asked and what it answers: bytes to values and back.

Keys and values are base64 in JSON, 64-bit numbers are strings, and what is zero, false or empty is left out.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ntspool.errors import WireError
from ntspool.wire.secret import Secret

UNAUTHENTICATED = 16
"""The gRPC code of a token that is not good (any more)."""

NOT_FOUND = 5
"""The gRPC code of a lease that has ended."""

AUTH_OFF = 9
"""The gRPC code of a precondition that fails: of authentication, that it is not on."""

_STALE_AUTH = "revision of auth store is old"


@dataclass(frozen=True, slots=True)
class Kept:
    """A key with its value, and the store's revision at which it was last written."""

    key: str
    data: bytes = field(repr=False)
    revision: int


@dataclass(frozen=True, slots=True)
class Change:
    """What a watch tells of a key: its new value, None when it was deleted, and the revision of that."""

    key: str
    data: bytes | None = field(repr=False)
    revision: int


@dataclass(frozen=True, slots=True)
class Watched:
    """One message of a watch: the store's revision and what changed.

    `ended` says why the watch was cancelled, empty if it was not; `compacted` that its start is gone from the store.
    """

    revision: int
    changes: tuple[Change, ...] = ()
    ended: str = ""
    compacted: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a conditional write: the store's revision, and, if it was refused, what is there (or nothing)."""

    done: bool
    revision: int
    held: Kept | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error that etcd answers with: its gRPC code and its words."""

    code: int
    words: str

    @property
    def wants_token(self) -> bool:
        """Whether a fresh token may help."""
        return self.code == UNAUTHENTICATED or _STALE_AUTH in self.words


def authenticate(user: str, password: Secret) -> bytes:
    """Return the body that asks for a token."""
    return _encode({"name": user, "password": password.reveal().decode()})


def read(key: str) -> bytes:
    """Return the body that reads one key."""
    return _encode({"key": _b64(key)})


def read_all(prefix: str) -> bytes:
    """Return the body that reads all keys that begin with `prefix`."""
    return _encode(_range(prefix))


def put(key: str, data: bytes, lease: int = 0) -> bytes:
    """Return the body that writes a key, which goes when `lease` (0: none) ends."""
    return _encode(_put(key, data, lease))


def put_if(key: str, data: bytes, revision: int, lease: int = 0) -> bytes:
    """Return the body that writes a key if it was last written at `revision`, 0: if it is not there."""
    compare = {"target": "MOD", "key": _b64(key), "result": "EQUAL", "mod_revision": str(revision)}
    return _encode(
        {
            "compare": [compare],
            "success": [{"request_put": _put(key, data, lease)}],
            "failure": [{"request_range": {"key": _b64(key)}}],
        }
    )


def delete(key: str) -> bytes:
    """Return the body that deletes a key."""
    return _encode({"key": _b64(key)})


def watch(prefix: str, revision: int) -> bytes:
    """Return the body that asks for all changes below `prefix` from `revision` on."""
    return _encode({"create_request": {**_range(prefix), "start_revision": str(revision)}})


def grant(seconds: int) -> bytes:
    """Return the body that asks for a lease of so many seconds."""
    return _encode({"TTL": str(seconds)})


def lease(identity: int) -> bytes:
    """Return the body that names a lease, to keep it alive or to end it."""
    return _encode({"ID": str(identity)})


def token(answer: bytes) -> Secret:
    """Return the token of an answer; raises WireError, as all that follow."""
    found = _object(answer).get("token")
    if not isinstance(found, str) or not found.isprintable():
        raise WireError("etcd sent no token")
    return Secret(found.encode())


def kept(answer: bytes) -> tuple[tuple[Kept, ...], int]:
    """Return the keys that an answer holds, and the store's revision."""
    body = _object(answer)
    return tuple(map(_kept, _list(body, "kvs"))), _revision(body)


def outcome(answer: bytes) -> Outcome:
    """Return what became of `put_if`."""
    body = _object(answer)
    if body.get("succeeded") is True:
        return Outcome(done=True, revision=_revision(body))
    there = [each for part in _list(body, "responses") for each in _list(_mapping(part.get("response_range")), "kvs")]
    return Outcome(done=False, revision=_revision(body), held=_kept(there[0]) if there else None)


def written(answer: bytes) -> int:
    """Return the revision of a write."""
    return _revision(_object(answer))


def granted(answer: bytes) -> int:
    """Return the identity of a lease that was granted."""
    return _number(_object(answer), "ID")


def kept_alive(answer: bytes) -> int:
    """Return for how many seconds a lease lasts from now; 0 when it has ended."""
    return _number(_mapping(_object(answer).get("result")), "TTL")


def watched(line: bytes) -> Watched:
    """Return one message of a watch."""
    body = _object(line)
    if "error" in body:
        error = body["error"]
        words = error.get("message") if isinstance(error, dict) else error
        return Watched(0, ended=_printable(words))
    result = _mapping(body.get("result"))
    revision = _revision(result)
    if result.get("canceled") is True:
        compacted = "compact_revision" in result
        why = "the changes since are compacted" if compacted else _printable(result.get("cancel_reason")) or "no reason"
        return Watched(revision, ended=why, compacted=compacted)
    return Watched(revision, tuple(map(_change, _list(result, "events"))))


def refusal(answer: bytes) -> Refusal:
    """Return the error in an answer, whatever it is."""
    try:
        body = _object(answer)
        words = body.get("error")
        if isinstance(words, dict):
            body, words = words, words.get("message")
        return Refusal(_number(body, "code"), _printable(words))
    except WireError:
        # To certificates with a common name, and where a proxy is in the way, it is plain text.
        return Refusal(0, _printable(answer.decode(errors="replace").strip()) or "an answer that is not etcd's")


def _range(prefix: str) -> Mapping[str, str]:
    start = prefix.encode()
    # The first key behind all that begin with the prefix; ours ends with a slash, never with 0xff.
    return {"key": _b64(prefix), "range_end": base64.b64encode(start[:-1] + bytes([start[-1] + 1])).decode()}


def _put(key: str, data: bytes, lease: int) -> Mapping[str, str]:
    return {
        "key": _b64(key),
        "value": base64.b64encode(data).decode(),
        **({"lease": str(lease)} if lease else {}),
    }


def _kept(value: Mapping[str, Any]) -> Kept:
    return Kept(_key(value), _bytes(value.get("value", "")), _number(value, "mod_revision"))


def _change(event: Mapping[str, Any]) -> Change:
    kv = _mapping(event.get("kv"))
    gone = event.get("type") == "DELETE"
    return Change(_key(kv), None if gone else _bytes(kv.get("value", "")), _number(kv, "mod_revision"))


def _key(value: Mapping[str, Any]) -> str:
    try:
        return _bytes(value.get("key")).decode()
    except UnicodeDecodeError as error:
        raise WireError("etcd holds a key that is not UTF-8") from error


def _bytes(value: object) -> bytes:
    if not isinstance(value, str):
        raise WireError("etcd sent a key or a value that is no text")
    try:
        return base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error) as error:
        raise WireError("etcd sent a key or a value that is not base64") from error


def _revision(body: Mapping[str, Any]) -> int:
    return _number(_mapping(body.get("header")), "revision")


def _number(body: Mapping[str, Any], key: str) -> int:
    value = body.get(key, "0")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise WireError(f"etcd sent a {key} that is no number")
    text = str(value)
    if not text.removeprefix("-").isdecimal() or not text.isascii() or len(text) > 20:
        raise WireError(f"etcd sent a {key} that is no number")
    return int(text)


def _list(body: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = body.get(key, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise WireError(f"etcd sent {key} that are no list of objects")
    return found


def _mapping(value: object) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise WireError("etcd sent something else than an object")
    return value


def _object(answer: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise WireError("etcd sent no JSON") from error
    if not isinstance(body, dict):
        raise WireError("etcd sent something else than an object")
    return body


def _printable(words: object) -> str:
    return "".join(each if each.isprintable() else " " for each in str(words or ""))[:200]


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _encode(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body).encode()
