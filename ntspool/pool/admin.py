"""What an operator wants of a backend for now, whatever its configuration says: HAProxy's `ready`, `drain` and `maint`.

It lasts until it is taken back: over reloads and restarts, as long as the configuration has the backend.
"""

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from ntspool.errors import StateError
from ntspool.pool.model import Backend

HIGHEST_WEIGHT = 256
"""HAProxy's."""

_FORMAT = 1


class Mode(StrEnum):
    """Whether a backend gets new clients (`ready`), gets none but is probed (`drain`), or is left alone (`maint`).

    Clients that have cookies of it are served by it in any mode, as long as it runs, and its keys go on.
    """

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted of one backend; `weight` (0 to HIGHEST_WEIGHT, or None) takes the place of the declared one."""

    mode: Mode = Mode.READY
    weight: int | None = None

    def apply(self, backend: Backend) -> Backend:
        """Return the backend as it is to be given out."""
        return backend if self.weight is None else replace(backend, weight=self.weight)

    def __str__(self) -> str:
        return str(self.mode) if self.weight is None else f"{self.mode}, weight {self.weight}"


AS_DECLARED = Order()
"""Nothing is wanted but what the configuration says."""

Orders = Mapping[str, Order]
"""By the backends' names; whose name is missing is AS_DECLARED."""


def given(orders: Orders, name: str, order: Order) -> Orders:
    """Return the orders with that of one backend replaced."""
    others = {other: kept for other, kept in orders.items() if other != name}
    return others if order == AS_DECLARED else {**others, name: order}


def without(orders: Orders, names: Container[str]) -> Orders:
    """Return the orders but those of these backends."""
    return {name: order for name, order in orders.items() if name not in names}


def encode(orders: Orders) -> bytes:
    """Return the orders as they are kept: one JSON object."""
    backends = {name: {"mode": str(order.mode), "weight": order.weight} for name, order in sorted(orders.items())}
    return json.dumps({"format": _FORMAT, "backends": backends}, indent=1).encode() + b"\n"


def decode(data: bytes) -> Orders:
    """Return what `encode` made bytes of; raises StateError."""
    try:
        held = json.loads(data)
        if held["format"] != _FORMAT:
            raise StateError(f"of format {held['format']}; this ntspool reads format {_FORMAT}")
        return {name: Order(Mode(each["mode"]), _weight(each["weight"])) for name, each in held["backends"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StateError("damaged") from error


def _weight(value: object) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value is not None and not (whole and 0 <= value <= HIGHEST_WEIGHT):  # type: ignore[operator]
        raise ValueError(value)
    return value  # type: ignore[return-value]
