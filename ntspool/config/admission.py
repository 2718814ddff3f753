"""The keys `listen` and `limits` of backends.yaml: where clients come, and which of them come in."""

from ipaddress import ip_address, ip_network
from typing import Annotated

from pydantic import BaseModel, Field, PlainValidator, model_validator

from ntspool.config import values
from ntspool.config.yamlfile import show
from ntspool.pool.access import Network
from ntspool.pool.hosts import is_local_notation

LOWEST_RATE, HIGHEST_RATE = 0.001, 1e6
"""Sessions a second: from one in a quarter of an hour to more than any machine serves."""

SHORTEST_WAIT = 0.01
"""The kernel tells how long a client has waited to within 4 ms on most machines."""


def network(value: object) -> Network:
    """Return a network of clients or load balancers; an address stands for itself alone."""
    wanted = "expected an IP network such as 192.0.2.0/24 or '2001:db8::/32', or an IP address"
    address, _, length = value.partition("/") if isinstance(value, str) else ("", "", "")
    try:
        # A netmask with dots can mean two things; only prefix lengths are taken.
        found = ip_network(value, strict=False) if isinstance(value, str) and "." not in length else None
    except ValueError:
        found = None
    if found is None:
        raise ValueError(f"{show(value)} is not an IP network; {wanted}")
    if is_local_notation(found.network_address):
        raise ValueError(f"{show(value)} has a zone or maps IPv4 into IPv6; {wanted}")
    if ip_address(address) != found.network_address:
        raise ValueError(f"{show(value)} has bits set behind its prefix; did you mean {found}?")
    return found


def rate(value: object) -> float | None:
    """Return sessions a second, None for `off`."""
    wanted = f"a number of sessions a second from {LOWEST_RATE:g} to {HIGHEST_RATE:.0f}, or off"
    if value == "off":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):  # to Python, true is 1
        raise ValueError(f"{show(value)} is not a number; expected {wanted}")  # noqa: TRY004
    if not LOWEST_RATE <= value <= HIGHEST_RATE:
        raise ValueError(f"{show(value)} is too {'low' if value < LOWEST_RATE else 'high'}; expected {wanted}")
    return float(value)


def sessions(value: object) -> int | None:
    """Return how many sessions may be open at a time, None for `off`."""
    return None if value == "off" else values.whole(1, otherwise=", or off")(value)


def queue_target(value: object) -> float | None:
    """Return for how many seconds clients may wait to be accepted, None for `off`."""
    return None if value == "off" else values.duration(SHORTEST_WAIT, ", or off")(value)


queue_interval = values.duration(SHORTEST_WAIT)

_Endpoint = Annotated[values.Endpoint, PlainValidator(values.endpoint)]
_Network = Annotated[Network, PlainValidator(network)]
_Count = Annotated[int, PlainValidator(values.at_least_one)]
_Sessions = Annotated[int | None, PlainValidator(sessions)]
_Rate = Annotated[float | None, PlainValidator(rate)]


class Listen(BaseModel, frozen=True, extra="forbid"):
    """Where clients come: straight, or through load balancers in `proxy_from`, which tell whom they bring.

    Written as ADDRESS:PORT alone where they come straight.
    """

    address: _Endpoint = Field(description="ADDRESS:PORT in quotes")
    proxy_from: tuple[_Network, ...] = Field(
        default=(), min_length=1, description="a list of the load balancers' IP networks with at least one item"
    )

    @model_validator(mode="before")
    @classmethod
    def _one_or_mapping(cls, value: object) -> object:
        """Take ADDRESS:PORT alone, too; what is no mapping must be that."""
        return value if isinstance(value, dict | Listen) else {"address": str(values.endpoint(value))}


class PerAddress(BaseModel, frozen=True, extra="forbid"):
    """What one address (IPv4 /32, IPv6 /64) may have of each worker: sessions at a time, and new ones a second."""

    sessions: _Sessions = 500
    rate: _Rate = 50.0
    burst: _Count = 1000


class PerNetwork(BaseModel, frozen=True, extra="forbid"):
    """The same for a network (IPv4 /24, IPv6 /48)."""

    sessions: _Sessions = 2000
    rate: _Rate = 200.0
    burst: _Count = 4000


class Queue(BaseModel, frozen=True, extra="forbid"):
    """Overload: clients wait longer than `target` for all of `interval`, in seconds; without a target it never is."""

    target: Annotated[float | None, PlainValidator(queue_target)] = 0.1
    interval: Annotated[float, PlainValidator(queue_interval)] = 1.0


class Limits(BaseModel, frozen=True, extra="forbid"):
    """What each worker bears: seconds that a session may last, sessions at a time, and whose they may be."""

    session_timeout: Annotated[float, PlainValidator(values.session_timeout)] = 5.0
    sessions: _Count = 10_000
    per_address: PerAddress = PerAddress()
    per_network: PerNetwork = PerNetwork()
    queue: Queue = Queue()
    allow: tuple[_Network, ...] = Field(default=(), description="a list of IP networks")
    deny: tuple[_Network, ...] = Field(default=(), description="a list of IP networks")
