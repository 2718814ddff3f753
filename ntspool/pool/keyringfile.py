"""The keyring as it is kept on disk: JSON, and whether it is what it must be."""

import base64
import json
from itertools import pairwise
from math import isfinite
from typing import Any

from ntspool.errors import StateError
from ntspool.pool.keyring import ROOT_LENGTH, SLOTS, STATES, EndedEpoch, Epoch, Keyring
from ntspool.wire.secret import Secret

FORMAT = 2

_HIGHEST_NUMBER = 2**63


def encode(keyring: Keyring) -> bytes:
    """Return the keyring's bytes. They are secret."""
    kept = {
        "format": FORMAT,
        "rotated": keyring.rotated,
        "first": keyring.first,
        "epochs": [
            {
                "number": epoch.number,
                "created": epoch.created,
                "root": base64.b64encode(epoch.root.reveal()).decode(),
                "revoked": epoch.revoked,
            }
            for epoch in keyring.epochs
        ],
        "ended": [
            {"number": past.number, "created": past.created, "ended": past.ended, "revoked": past.revoked}
            for past in keyring.ended
        ],
    }
    return json.dumps(kept, indent=1).encode() + b"\n"


def decode(data: bytes) -> Keyring:
    """Return the keyring kept in `data`; raises StateError when it is damaged or of another version of ntspool."""
    try:
        kept = json.loads(data)
        if kept["format"] != FORMAT:
            raise StateError(f"the keyring has format {kept['format']}; this ntspool reads format {FORMAT}")
        keyring = Keyring(
            epochs=tuple(map(_epoch, kept["epochs"])),
            rotated=float(kept["rotated"]),
            first=int(kept["first"]),
            ended=tuple(
                EndedEpoch(int(e["number"]), float(e["created"]), float(e["ended"]), bool(e["revoked"]))
                for e in kept["ended"]
            ),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        # What was read may be quoted in these errors, and is secret.
        raise _damaged("it cannot be read") from None
    _check(keyring)
    return keyring


def _epoch(kept: dict[str, Any]) -> Epoch:
    root = Secret(base64.b64decode(kept["root"], validate=True))
    return Epoch(int(kept["number"]), float(kept["created"]), root, bool(kept["revoked"]))


def _check(keyring: Keyring) -> None:
    if len(keyring.epochs) != len(STATES):
        raise _damaged(f"it holds {len(keyring.epochs)} epochs instead of {len(STATES)}")
    numbers = [epoch.number for epoch in keyring.epochs]
    times = [
        keyring.rotated,
        *(epoch.created for epoch in keyring.epochs),
        *(time for past in keyring.ended for time in (past.created, past.ended)),
    ]
    if not 0 <= numbers[0] <= numbers[-1] <= _HIGHEST_NUMBER or not all(map(isfinite, times)):
        raise _damaged("a number or a time is out of range")
    if any(epoch.revoked for epoch in keyring.epochs if epoch.number >= keyring.current.number):
        raise _damaged("an epoch that is to be minted under is revoked")
    if any(after <= before or (after - before) % SLOTS != 1 for before, after in pairwise(numbers)):
        raise _damaged("its epochs are not in order")
    if any(len(epoch.root) != ROOT_LENGTH for epoch in keyring.epochs):
        raise _damaged(f"a root has not {ROOT_LENGTH} bytes")
    if len({epoch.root for epoch in keyring.epochs}) < len(STATES):
        raise _damaged("two epochs have the same root")


def _damaged(how: str) -> StateError:
    return StateError(f"the keyring is damaged: {how}; restore it by `ntspool keys restore`")
