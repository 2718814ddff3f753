"""Which lines of the log are changes that operators want to look back at, and what each says of whom."""

from collections.abc import Callable, Mapping
from typing import Any

from ntspool.pool.view import EventView

Words = Mapping[str, Any]
"""A line of the log: `event`, `level` and whatever else was told."""


def _backend(words: Words) -> str:
    return " ".join(str(words[key]) for key in ("backend", "address", "aead") if words.get(key))


def _word(*keys: str) -> Callable[[Words], str]:
    return lambda words: next((_text(words[key]) for key in keys if words.get(key)), "")


def _rrset(words: Words) -> str:
    return f"{words['name']} {words['type']}"


def _nobody(_words: Words) -> str:
    return ""


_SUBJECTS: Mapping[str, Callable[[Words], str]] = {
    **dict.fromkeys(
        (
            "backend UP",
            "backend DOWN",
            "aead UP",
            "aead DOWN",
            "keys behind",
            "keys current",
            "admin state",
            "DNS: discovered backend left out",
            "agent enrolled",
            "agent revoked",
            "agent's certificate renewed",
            "backend outvoted",
            "backend not reached from here",
        ),
        _backend,
    ),
    "panic": _word("family"),
    **dict.fromkeys(("certificate expires soon", "certificate has expired"), _word("names")),
    "gateway forgotten": _word("gateway"),
    **dict.fromkeys(("keys rotated", "keys taken over", "epoch revoked"), lambda words: f"epoch {words['epoch']}"),
    **dict.fromkeys(("DNS: changed", "DNS: trouble", "DNS: trouble is over"), _word("name")),
    **dict.fromkeys(("DNS records changed", "DNS publishing: last records stay"), _rrset),
    **dict.fromkeys(("DNS publishing: trouble", "DNS publishing: trouble is over"), _word("server")),
    **dict.fromkeys(("worker died", "worker killed"), lambda words: f"worker {words['worker']}"),
    **dict.fromkeys(("configuration changed", "a restart is needed for this change"), _word("key")),
    **dict.fromkeys(
        (
            "offset vote",
            "reloaded",
            "reload refused, the old configuration stays",
            "certificates reloaded",
            "new certificate refused, the old one stays",
            "workers replaced",
            "workers do not serve",
            "orders taken over",
            "the cluster's store is away",
            "the cluster's store is back",
            "gateway withdrawn",
            "gateway back",
            "keyring encrypted",
            "taking over",
            "serving",
            "stopped",
            "region database refused, the last good one stays",
            "history cannot be written",
            "history is written again",
        ),
        _nobody,
    ),
}
"""The events by their names, each with what finds in its words whom it is about."""

_TURNED = {"UP": "DOWN", "DOWN": "UP", "on": "off", "off": "on", "behind": "current", "current": "behind"}
_CAUSE = _word("cause", "reason", "reasons", "mistakes", "effect")
_LONGEST = 500


def happened(words: Words, number: int, now: float) -> EventView | None:
    """Return the event that a line of the log tells, None if it tells none; `now` is in Unix seconds."""
    name = str(words.get("event"))
    subject = _SUBJECTS.get(name)
    if subject is None:
        return None
    before, after = _word("before")(words), _word("after", "state", "mode", "current", "epoch")(words)
    # An address, an AEAD, its keys or the panic are in one of two states, and the event tells which.
    turned = after or name.rpartition(" ")[2]
    if turned in _TURNED:
        before, after = before or _TURNED[turned], turned
    level = str(words.get("level", "info"))
    return EventView(number, now, name, level, subject(words), _CAUSE(words)[:_LONGEST], before, after)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {word}" for key, word in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
