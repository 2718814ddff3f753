"""The values that the pool is made of: backends, and the frozen Snapshot that workers serve from."""

from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal

from ntspool.pool.access import EVERYBODY, Access
from ntspool.pool.cookies import CookieFormat, ServerKey
from ntspool.pool.limits import UNLIMITED, PrefixLimit
from ntspool.pool.names import Names
from ntspool.pool.shedding import QueueLimit
from ntspool.wire.aead import Aead
from ntspool.wire.secret import Secret

Address = IPv4Address | IPv6Address
Balance = Literal["random", "sticky"]


@lru_cache(maxsize=8192)
def address_text(address: Address) -> str:
    """Return an address as clients and people read it; `str` would make it anew for every client."""
    return str(address)


class Family(IntEnum):
    """An address family, by its IP version number."""

    IPV4 = 4
    IPV6 = 6


DEFAULT_KE_PORT = 4460
"""The port of NTS-KE (RFC 8915 section 7.1)."""


@dataclass(frozen=True, slots=True)
class FixedKey:
    """How a backend that keeps its own keys is asked for cookies: where its NTS-KE server is, and our `token` there.

    `name`, a DNS name or an IP literal, is what its certificate must cover. It is found at `host`, a DNS name or an IP
    literal, or where `host` is empty at that address of the backend which the cookies are for. `ca` are the authorities
    in PEM, None the system's.
    """

    name: str
    token: Secret
    port: int = DEFAULT_KE_PORT
    host: str = ""
    ca: bytes | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return FIXED_KEY


FIXED_KEY: Final = "fixed-key"
"""What stands for FixedKey where the other backends have a cookie format."""


@dataclass(frozen=True, slots=True)
class Backend:
    """An NTP server with NTS, as declared in backends.yaml.

    `cookies` is whose cookies are minted for it, or how it is asked for its own. `aeads` are those that it serves;
    backends of one `key_group` share their cookie keys, and one that keeps its own has none. `regions` are the places
    whose clients it is for, in lower case.
    """

    name: str
    addresses: tuple[Address, ...]
    port: int
    weight: int
    cookies: CookieFormat | FixedKey
    aeads: tuple[Aead, ...]
    key_group: str
    regions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UpAddress:
    """An address of a backend that is UP, the AEADs that were found good there, and its weight now.

    `weight` is the backend's own, or less during `slow_start`.
    """

    address: Address
    aeads: tuple[Aead, ...]
    weight: float


@dataclass(frozen=True, slots=True)
class Serving:
    """A backend as workers may give it out now: the addresses that are UP, and the key to mint under.

    A backend without a proved epoch is not UP, whatever its probes say; its key is then never used. One that keeps its
    own keys has none here.
    """

    backend: Backend
    up: tuple[UpAddress, ...]
    key: ServerKey | None


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks: its address in network byte order (4 or 16 bytes), and the server name of its TLS handshake.

    `server_name` is in lower case, and empty if the client sent none. `places` are where it is, the closest first.
    """

    packed: bytes
    server_name: str = ""
    places: tuple[str, ...] = ()

    @property
    def family(self) -> Family:
        """The address family that the client came by, and is to be sent to."""
        return Family.IPV4 if len(self.packed) == 4 else Family.IPV6


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate chain and its private key, both in PEM."""

    chain: bytes
    key: Secret


@dataclass(frozen=True, slots=True)
class SessionRules:
    """What holds for every session: its deadline in seconds, and who may have one; all counts are a worker's own.

    `limit` is how many sessions may be open, `per_address` and `per_network` what is left of that to one client and
    to its network, `queue` when too many wait for theirs (None: never). `proxies` tells for each listening socket, in
    their order, from which networks a load balancer puts the PROXY protocol's header first (None: clients come
    straight); sockets without an entry are clients' own.
    """

    timeout: float
    limit: int
    access: Access = EVERYBODY
    per_address: PrefixLimit = UNLIMITED
    per_network: PrefixLimit = UNLIMITED
    queue: QueueLimit | None = None
    proxies: tuple[Access | None, ...] = ()

    def trusted(self, index: int) -> Access | None:
        """Return from where balancers come to the listening socket at `index`; None where clients come straight."""
        return self.proxies[index] if index < len(self.proxies) else None


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How much is logged, in which form, and whether clients' addresses are.

    `auto` is for people where standard error is a terminal, and JSON elsewhere.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    client_addresses: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """How a client's backend is selected.

    `balance` is for clients that ask for no slot. `database` is the path of the MaxMind database that tells where
    clients are, empty for none.
    """

    balance: Balance = "random"
    names: Names = field(default_factory=Names)
    database: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a worker serves from; replaced whole, never changed.

    `serving` holds every backend of the configuration, those without an UP address too.
    """

    revision: int
    certificates: tuple[Certificate, ...]
    rules: SessionRules
    log: LogSettings
    serving: tuple[Serving, ...]
    selection: Selection = field(default_factory=Selection)
