"""The keys of backends.yaml, their defaults and their types; app/ turns these into what the floors below work with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, Field, PlainValidator, ValidationInfo

from ntspool.config import names, publishing, values
from ntspool.config.admission import Limits, Listen
from ntspool.config.history import History
from ntspool.pool.cookies import CLIENT_AEADS, CookieFormat
from ntspool.pool.model import DEFAULT_KE_PORT, FIXED_KEY, Address, Balance
from ntspool.wire.aead import Aead

DEFAULT_PORT = 123
DEFAULT_COOKIES = CookieFormat.CHRONY
_CLIENT_AEADS: Mapping[str, tuple[Aead, ...]] = {str(cookies): aeads for cookies, aeads in CLIENT_AEADS.items()}
DEFAULT_AEADS: Mapping[str, tuple[Aead, ...]] = {
    **_CLIENT_AEADS,
    CookieFormat.CHRONY: (Aead.AES_SIV_CMAC_256,),  # GCM-SIV needs chrony 4.4 and a library that has it
    FIXED_KEY: CLIENT_AEADS[CookieFormat.NTPD_RS],  # the only daemon so far that makes cookies for fixed keys
}
"""The AEADs that a backend is taken to serve, by its `cookies`."""

CARRIED_AEADS: Mapping[str, tuple[Aead, ...]] = {**_CLIENT_AEADS, FIXED_KEY: tuple(Aead)}
"""The AEADs that a backend may be said to serve, by its `cookies`."""

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]


def _path(value: object, info: ValidationInfo) -> Path:
    folder: Path = info.context["folder"]  # type: ignore[index]
    return values.file_path(value, folder)


def _secret_path(value: object, info: ValidationInfo) -> Path:
    folder: Path = info.context["folder"]  # type: ignore[index]
    return values.secret_path(value, folder)


def _one_or_many(value: object) -> object:
    """Return a list with `value` alone unless it is a list: `address` takes both."""
    return value if isinstance(value, list) else [value]


# What is missing from `stated` is wrong: pydantic 2.10 asks for these defaults all the same, later ones do not.
def _default_aeads(stated: dict[str, Any]) -> tuple[Aead, ...]:
    return DEFAULT_AEADS[stated.get("cookies", DEFAULT_COOKIES)]


def _default_life(stated: dict[str, Any]) -> float:
    return min(values.USUAL_LIFE, stated.get("rotate") or values.USUAL_LIFE)


def _default_fast_interval(stated: dict[str, Any]) -> float:
    wanted = max(values.USUAL_FAST_INTERVAL, 2 * stated.get("timeout", 0.0))
    return float(min(wanted, stated.get("interval", wanted)))


def _default_down_interval(stated: dict[str, Any]) -> float:
    return float(stated.get("interval", 0.0))


def _default_key_group(stated: dict[str, Any]) -> str:
    return str(stated.get("name", ""))


Name = Annotated[str, PlainValidator(values.name)]
DnsName = Annotated[str, PlainValidator(values.dns_name)]
Endpoint = Annotated[values.Endpoint, PlainValidator(values.endpoint)]
HostAddress = Annotated[Address | str, PlainValidator(values.address)]
FilePath = Annotated[Path, PlainValidator(_path)]
SecretPath = Annotated[Path, PlainValidator(_secret_path)]
AtLeastOne = Annotated[int, PlainValidator(values.at_least_one)]


class Pool(BaseModel, frozen=True, extra="forbid"):
    """The pool's names, in lower case: what the certificates are for and clients ask for."""

    names: Annotated[tuple[DnsName, ...], Field(min_length=1, description="a list of DNS names")]


class Certificate(BaseModel, frozen=True, extra="forbid"):
    """One certificate chain and its private key, both PEM files."""

    certificate: FilePath = Field(description="the path of a PEM file: the certificate, then its chain")
    key: SecretPath = Field(description="the path of a PEM file with the certificate's private key")


class Keys(BaseModel, frozen=True, extra="forbid"):
    """Cookie keys: seconds from one rotation to the next (None: by command only), and a cookie's `life` in seconds.

    `encryption_key` is the file with the key that the state directory's secrets are encrypted under.
    """

    rotate: Annotated[float | None, PlainValidator(values.rotation)] = 7 * 86400.0
    life: Annotated[float, PlainValidator(values.life)] = Field(default_factory=_default_life)
    encryption_key: SecretPath | None = None


class Store(BaseModel, frozen=True, extra="forbid"):
    """Where gateways of one pool share what they must agree on: an etcd, without `etcd` the state directory.

    `prefix` is what all keys in it begin with. `ca` is whom to trust, `certificate` and `key` what to show; the file
    `password` holds that of `user`.
    """

    etcd: Annotated[
        tuple[Annotated[str, PlainValidator(values.etcd_endpoint)], ...], Field(description="a list of URLs")
    ] = ()
    prefix: Annotated[str, PlainValidator(values.prefix)] = "/ntspool/"
    ca: FilePath | None = None
    certificate: FilePath | None = None
    key: SecretPath | None = None
    user: Annotated[str | None, PlainValidator(values.user)] = None
    password: SecretPath | None = None


class Gateway(BaseModel, frozen=True, extra="forbid"):
    """How the other gateways of a cluster know this one: its `name`, the host's if it is None."""

    name: Annotated[Name | None, Field(description=values.NAME)] = None


class Control(BaseModel, frozen=True, extra="forbid"):
    """The port for agents; without `listen` there is none."""

    listen: tuple[Endpoint, ...] = ()


class Admin(BaseModel, frozen=True, extra="forbid"):
    """The socket that commands talk to the gateway over; `admin.sock` in the state directory if not stated.

    `group` is the name or number of the group that may use it beside its owner, "" for the owner's. At `listen` anybody
    may read, and nobody act.
    """

    socket: FilePath | None = None
    group: Annotated[str, PlainValidator(values.group)] = ""
    listen: tuple[Endpoint, ...] = Field(default=(), description="a list of ADDRESS:PORT, each in quotes")


class Status(BaseModel, frozen=True, extra="forbid"):
    """The port of the status page and of what machines read beside it; without `listen` there is none."""

    listen: tuple[Endpoint, ...] = Field(default=(), description="a list of ADDRESS:PORT, each in quotes")


class Health(BaseModel, frozen=True, extra="forbid"):
    """Probing: durations in seconds, `rise` and `fall` in probes in a row, `panic` in percent of the backends."""

    interval: Annotated[float, PlainValidator(values.interval)] = 16.0
    timeout: Annotated[float, PlainValidator(values.probe_timeout)] = 1.0
    fast_interval: Annotated[float, PlainValidator(values.interval)] = Field(default_factory=_default_fast_interval)
    down_interval: Annotated[float, PlainValidator(values.interval)] = Field(default_factory=_default_down_interval)
    rise: AtLeastOne = 2
    fall: AtLeastOne = 3
    slow_start: Annotated[float, PlainValidator(values.slow_start)] = 0.0
    max_offset: Annotated[float, PlainValidator(values.max_offset)] = 0.1
    max_distance: Annotated[float, PlainValidator(values.max_distance)] = 1.5
    max_stratum: Annotated[int, PlainValidator(values.max_stratum)] = 15
    panic: Annotated[int, PlainValidator(values.percent)] = 50


class Publish(BaseModel, frozen=True, extra="forbid"):
    """Where the pool's names are published, and what they say of this gateway; without `server`, nothing is.

    `zone` is "" if the server is to be asked, `names` empty for all of the pool's and the groups', `addresses` empty
    for those that are listened on; without a `host`, there are no SRV records. `ttl` in seconds. If `withdrawn`, the
    gateway serves on and leaves the DNS.
    """

    server: Annotated[values.Endpoint, PlainValidator(values.dns_server)] | None = None
    key: SecretPath | None = None
    zone: Annotated[str, PlainValidator(values.dns_name)] = ""
    names: Annotated[tuple[DnsName, ...], Field(description="a list of DNS names")] = ()
    addresses: Annotated[
        tuple[Annotated[Address, PlainValidator(publishing.address)], ...],
        Field(description="a list of IP addresses"),
    ] = ()
    host: Annotated[str, PlainValidator(values.dns_name)] = ""
    ttl: Annotated[int, PlainValidator(publishing.ttl)] = 60
    priority: Annotated[int, PlainValidator(publishing.number)] = 0
    weight: Annotated[int, PlainValidator(publishing.number)] = 10
    slots: Annotated[bool, PlainValidator(values.flag)] = True
    withdrawn: Annotated[bool, PlainValidator(values.flag)] = False


class Dns(BaseModel, frozen=True, extra="forbid"):
    """The DNS servers to ask, in this order, those of /etc/resolv.conf if none is stated; `timeout` in seconds."""

    servers: tuple[Annotated[values.Endpoint, PlainValidator(values.dns_server)], ...] = ()
    timeout: Annotated[float, PlainValidator(values.dns_timeout)] = 2.0
    publish: Publish = Publish()


class Regions(BaseModel, frozen=True, extra="forbid"):
    """How clients are placed: by a MaxMind database; without one, no backend's region matters."""

    database: FilePath | None = None


class Log(BaseModel, frozen=True, extra="forbid"):
    """How much is logged and how; client addresses are personal data and stay out unless asked for."""

    level: Annotated[LogLevel, PlainValidator(values.choice(get_args(LogLevel)))] = "info"
    format: Annotated[LogFormat, PlainValidator(values.choice(get_args(LogFormat)))] = "auto"
    client_addresses: Annotated[bool, PlainValidator(values.flag)] = False


class KeyExchange(BaseModel, frozen=True, extra="forbid"):
    """The NTS-KE server of a backend that keeps its own keys: at the backend's own address unless `host` is stated.

    `ca` is the file with the authorities that its certificate comes from, None the system's; `token` the file with what
    it knows us by, which only backends with `cookies: fixed-key` have and must have.
    """

    host: HostAddress | None = None
    port: Annotated[int, PlainValidator(values.port)] = DEFAULT_KE_PORT
    ca: FilePath | None = None
    token: SecretPath | None = None


class Backend(BaseModel, frozen=True, extra="forbid"):
    """One NTP server with NTS and the AEADs that it serves, or all those that an SRV name leads to.

    Either `name` and `address` are there, or `srv` is: a rule, for pydantic would name neither the one nor the other.
    """

    name: Name = Field("", description=values.NAME)
    address: Annotated[
        tuple[HostAddress, ...],
        BeforeValidator(_one_or_many),
        Field(min_length=1, description=values.ADDRESS),
    ] = ()
    srv: Annotated[str, PlainValidator(values.srv_name)] = ""
    port: Annotated[int, PlainValidator(values.port)] = DEFAULT_PORT
    weight: Annotated[int, PlainValidator(values.weight)] = 10
    cookies: Annotated[str, PlainValidator(values.cookies)] = DEFAULT_COOKIES
    ke: KeyExchange = KeyExchange()
    aeads: Annotated[
        tuple[Annotated[Aead, PlainValidator(values.aead)], ...],
        Field(min_length=1, description="a list of AEAD algorithms"),
    ] = Field(default_factory=_default_aeads)
    key_group: Name = Field(default_factory=_default_key_group)
    region: Annotated[
        tuple[Annotated[str, PlainValidator(values.region)], ...],
        BeforeValidator(_one_or_many),
        Field(description="a region or a list of regions"),
    ] = ()


class Config(BaseModel, frozen=True, extra="forbid"):
    """All of backends.yaml; `workers` is None for one per core.

    `pins` and `groups` are pairs of a name and the backend or backends that it leads to.
    """

    pool: Pool
    listen: Annotated[tuple[Listen, ...], Field(min_length=1, description="a list of ADDRESS:PORT, each in quotes")] = (
        tuple(map(Listen.model_validate, ("0.0.0.0:4460", "[::]:4460")))
    )
    workers: Annotated[int | None, PlainValidator(values.workers)] = None
    tls: Annotated[
        tuple[Certificate, ...],
        Field(min_length=1, description="a list of {certificate: FILE, key: FILE} with at least one item"),
    ]
    state: FilePath = Path("/var/lib/ntspool")
    store: Store = Store()
    gateway: Gateway = Gateway()
    keys: Keys = Keys()
    control: Control = Control()
    admin: Admin = Admin()
    status: Status = Status()
    health: Health = Health()
    dns: Dns = Dns()
    balance: Annotated[Balance, PlainValidator(values.choice(get_args(Balance)))] = "random"
    pins: Annotated[tuple[tuple[str, str], ...], PlainValidator(names.pins)] = ()
    groups: Annotated[tuple[tuple[str, tuple[str, ...]], ...], PlainValidator(names.groups)] = ()
    regions: Regions = Regions()
    history: History = History()
    limits: Limits = Limits()
    log: Log = Log()
    backends: Annotated[
        tuple[Backend, ...],
        Field(min_length=1, description="a list of {name: NAME, address: ADDRESS} with at least one item"),
    ]
