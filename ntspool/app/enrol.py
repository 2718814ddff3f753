"""`ntspool backend enroll` and `revoke`, on the store: every running gateway sees what they did at once."""

import os
import time
from pathlib import Path

from ntspool import config
from ntspool.app import declared
from ntspool.app.sharing import command_store
from ntspool.errors import LocalError, RefusedError
from ntspool.net import enrolment
from ntspool.net.sealed import read_seal
from ntspool.pool.model import FixedKey
from ntspool.wire.secret import Secret


def new_token(path: Path, name: str) -> Secret:
    """Return a token for an agent of the backend `name`; raises LocalError when there is none, or it needs no agent."""
    stated = config.load(path)
    if isinstance(declared.find_backend(stated, name, path).cookies, FixedKey):
        raise RefusedError(f"{name} keeps its own keys (cookies: fixed-key); there is nothing for an agent to fetch")
    seal = read_seal(stated.keys.encryption_key)
    with command_store(stated) as store:
        return enrolment.create_token(store, name, time.time(), enrolment.TOKEN_LIFE, os.urandom, seal=seal)


def shut_out(path: Path, name: str) -> int:
    """Revoke every certificate and unused token of a backend, in the configuration or not; return how many there were.

    Raises LocalError when there were none: the name may be misspelt.
    """
    with command_store(config.load(path)) as store:
        number = enrolment.revoke(store, name, time.time())
    if not number:
        raise LocalError(f"{name!r} has no agent and no token")
    return number
