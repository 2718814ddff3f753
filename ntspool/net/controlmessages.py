"""What gateways and agents say to each other on the control port: JSON objects, read without trust.

Every function that reads raises WireError, and quotes nothing of what it read.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ntspool.errors import WireError
from ntspool.net.keydesk import Delivery
from ntspool.pool.cookies import SERVER_AEAD, CookieFormat, ServerKey
from ntspool.pool.keyfiles import KeySet
from ntspool.wire.secret import Secret

MAX_LENGTH: Final = 16384
"""Bytes; a longer message is refused unread."""

MAX_FAILURE: Final = 500
"""Characters of an agent's words about what does not work."""

MAX_KEYS: Final = 64
"""Keys in one delivery or report; no daemon holds as many."""

POLL: Final = 50.0
"""Seconds for which a gateway holds a question for new keys open."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A token and the request (PEM) for a certificate."""

    token: Secret
    csr: bytes

    def encode(self) -> bytes:
        """Return the message. Secret."""
        return _object(token=self.token.reveal().decode(), csr=self.csr.decode())


@dataclass(frozen=True, slots=True)
class Report:
    """Which keys of a delivery an agent proved, and what does not work; made printable and short."""

    revision: str
    proved: tuple[int, ...]
    failure: str | None

    def encode(self) -> bytes:
        """Return the message."""
        failure = None if self.failure is None else _printable(self.failure)
        return _object(revision=self.revision, proved=self.proved, failure=failure)


def encode_certificates(**pems: bytes) -> bytes:
    """Return the message that holds a request or certificates in PEM, each by its name."""
    return _object(**{name: pem.decode() for name, pem in pems.items()})


def encode_delivery(backend: str, delivery: Delivery) -> bytes:
    """Return the message of a delivery. Secret."""
    keys = [{"id": key.id, "secret": base64.b64encode(key.secret.reveal()).decode()} for key in delivery.keys.keys]
    return _object(
        revision=delivery.revision,
        backend=backend,
        cookies=delivery.cookies,
        current=delivery.keys.current,
        keys=keys,
    )


def encode_granted(*, granted: bool) -> bytes:
    """Return the answer to who asks for the turn."""
    return _object(granted=granted)


def decode_enrolment(data: bytes) -> Enrolment:
    """Read an Enrolment."""
    message = _read(data)
    return Enrolment(Secret(_text(message, "token").encode()), _text(message, "csr").encode())


def decode_pem(data: bytes, name: str) -> bytes:
    """Read one field of a message that `encode_certificates` wrote."""
    return _text(_read(data), name).encode()


def decode_report(data: bytes) -> Report:
    """Read a Report; what could do harm on a terminal is replaced."""
    message = _read(data)
    proved = tuple(_whole(each) for each in _list(message, "proved"))
    failure = None if message.get("failure") is None else _printable(_text(message, "failure"))
    return Report(_printable(_text(message, "revision")), proved, failure)


def decode_delivery(data: bytes) -> Delivery:
    """Read a Delivery whose keys a daemon of its format can take."""
    message = _read(data)
    try:
        cookies = CookieFormat(_text(message, "cookies"))
        keys = KeySet(tuple(_key(each, cookies) for each in _list(message, "keys")), _whole(message.get("current")))
    except ValueError:
        # Its words, and its traceback, hold what the peer sent.
        raise WireError("a delivery makes no sense") from None
    return Delivery(_text(message, "revision"), cookies, keys)


def decode_granted(data: bytes) -> bool:
    """Read the answer to who asks for the turn."""
    granted = _read(data).get("granted")
    if not isinstance(granted, bool):
        raise WireError("a message lacks granted")
    return granted


def _key(value: object, cookies: CookieFormat) -> ServerKey:
    if not isinstance(value, dict):
        raise WireError("a key is no object")
    secret = Secret(base64.b64decode(_text(value, "secret"), validate=True))
    if len(secret) != SERVER_AEAD[cookies].key_length:
        raise WireError("a key has the wrong length")
    return ServerKey(_whole(value.get("id")), secret)


def _object(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def _read(data: bytes) -> Mapping[str, object]:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        # JSONDecodeError carries the whole text, which may be a secret.
        raise WireError("a message is no JSON") from None
    if not isinstance(message, dict):
        raise WireError("a message is no JSON object")
    return message


def _text(message: Mapping[str, object], name: str) -> str:
    value = message.get(name)
    # isascii: JSON can hold lone surrogates, which nothing can encode.
    if not isinstance(value, str) or not (value.isascii() or name == "failure"):
        raise WireError(f"a message lacks {name}")
    return value


def _list(message: Mapping[str, object], name: str) -> Sequence[object]:
    value = message.get(name)
    if not isinstance(value, list) or len(value) > MAX_KEYS:
        raise WireError(f"a message lacks {name}, or it is too long")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 32:
        raise WireError("a number of a message is out of range")
    return value


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text[:MAX_FAILURE])
