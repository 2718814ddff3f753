"""Makes an ntspool process fail, once the file NTSPOOL_FAULT is there, wherever it handles secrets.

For PYTHONPATH. What is raised tells all that the failing call has before it: its arguments, and what its object holds.
An agent fails at LATER only when it has failed elsewhere, and was started again.
"""

import asyncio
import os
import sys
from importlib import import_module
from typing import Any

PLACES = {
    "serve": (
        ("ntspool.app.keykeeper", "KeyKeeper", "status"),
        ("ntspool.app.gateway", "Gateway", "_snapshot"),
        ("ntspool.net.controlcalls", "Calls", "_report"),
        ("ntspool.net.controlcalls", "Calls", "_enrol"),
        ("ntspool.net.controlcalls", "Calls", "_renew"),
        ("ntspool.net.probe", "Prober", "_ask"),
        ("ntspool.net.fixedkeyprobe", "FixedKeyProber", "probe"),
    ),
    "ntspool.app.worker": (
        ("ntspool.pool.negotiation", "Negotiator", "_response"),
        ("ntspool.net.upstreams", "Upstreams", "adopt"),
    ),
    "agent": (
        ("ntspool.net.daemons.embedded", "Embedded", "outdated"),
        ("ntspool.net.agentclient", "AgentClient", "keyring"),
    ),
    "timeserver": (
        ("ntspool.pool.responder", "Responder", "respond"),
        ("ntspool.pool.backendke", "BackendKe", "pool"),
    ),
}
"""Module, class and method, by a word on the command line of the process that is to fail there."""

LATER = "AgentClient.keyring"


def _held(value: object) -> dict[str, Any]:
    names = {*vars(type(value)).get("__slots__", ()), *getattr(value, "__dict__", ())}
    return {name: getattr(value, name, None) for name in names}


def _failing(fault: str, place: str, original: Any) -> Any:
    trigger = f"{fault}.Embedded.outdated" if place == LATER else fault

    def fail(self: object, *arguments: Any, **more: Any) -> Any:
        if os.path.exists(trigger):
            with open(f"{fault}.{place}", "w", encoding="ascii"):
                raise RuntimeError(f"on purpose at {place}", _held(self), arguments, more)
        return original(self, *arguments, **more)

    async def fail_later(self: object, *arguments: Any, **more: Any) -> Any:
        return await fail(self, *arguments, **more)

    return fail_later if asyncio.iscoroutinefunction(original) else fail


def _places() -> tuple[tuple[str, str, str], ...]:
    return next((places for word, places in PLACES.items() if word in sys.orig_argv), ())


# Tests import it to see what fails.
for _module, _owner, _name in _places() if "NTSPOOL_FAULT" in os.environ else ():
    _class = getattr(import_module(_module), _owner)
    setattr(_class, _name, _failing(os.environ["NTSPOOL_FAULT"], f"{_owner}.{_name}", getattr(_class, _name)))
