"""One value of backends.yaml: from what YAML gives to what it means.

Every function takes anything that YAML can hold and raises ValueError with words for operators: what is wrong and,
after a semicolon, what is expected.
"""

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_address as parse_ip
from pathlib import Path
from typing import TypeVar

from ntspool.config.yamlfile import show
from ntspool.net.geo import CONTINENTS
from ntspool.net.systemd import credential
from ntspool.pool.cookies import CookieFormat
from ntspool.pool.hosts import is_local_notation, is_usable, name_problem
from ntspool.pool.model import FIXED_KEY, Address
from ntspool.wire.aead import Aead

Word = TypeVar("Word", bound=str)

LONGEST_DURATION = 365 * 86400.0
"""Longer ones are slips of the pen, and timers overflow some way above."""

SHORTEST_ROTATION = 7200.0
"""A cookie is good for two rotations at least; a client that polls every 1024 s spends its eight in 2 h 17 min."""

USUAL_LIFE = 86400.0
"""Clients that sleep over night find their cookies good in the morning."""

SHORTEST_LIFE = 0.1
"""Far too short for real clients, who spend a cookie hours after they got it; tests need it."""

SHORTEST_INTERVAL = 0.1
"""Ten probes a second from each gateway: more tell no more about a backend, they only load it."""

SHORTEST_PROBE_TIMEOUT = 0.01
"""Backends in the same rack answer in less; below it, a busy gateway would miss good answers."""

SHORTEST_DNS_TIMEOUT = 0.1
"""A DNS server that asks others first needs more than that anyway; less is for tests."""

USUAL_FAST_INTERVAL = 2.0
"""A dead backend is out five seconds after its first miss, and the probes in between fit into the eight requests that
chrony's `ratelimit` lets through in a burst."""

SHORTEST_OFFSET = 0.001
"""Over the Internet, paths that are longer one way than the other look like this; less would accuse honest clocks."""

SHORTEST_SESSION = 0.1
"""A client on the other side of the earth needs 0.9 s for its three round trips; less is for tests."""

CREDENTIAL = "credential:"
"""What a path begins with that is the name of a credential of systemd's."""

NAME = "a name of at most 99 letters, digits, '.', '-' and '_' that begins with a letter or digit"
DNS_NAME = "a DNS name such as ntp-pool.example.com"
ADDRESS = "an IP address, a DNS name, or a list of them"
SRV_NAME = "a name such as _ntske._tcp.example.com or _ntp._udp.example.com"

COOKIES = (*CookieFormat, FIXED_KEY)
"""What `cookies` takes: whose are minted for a backend, or that it makes its own."""

_GROUP = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,31}\$?")
_GROUP = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,31}|[0-9]{1,9}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,98}")  # file names are made of it
_ETCD_ENDPOINT = re.compile(r"https?://(?:[A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9a-fA-F:.]{2,45}\]):[1-9][0-9]{0,4}/?")
# Digits of a key, or the first line of one in PEM: more than a word of a path has.
_SECRET = re.compile(r"[0-9A-Za-z+=]{16}|-----BEGIN|\n")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._-]{1,64}){1,8}/?")
_COUNTRY = re.compile(r"[a-z]{2}")  # ISO 3166-1
_DURATION = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to listen: `host` is an IP literal without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def name(value: object) -> str:
    """Return the name of a backend or a key group; it can stand in a file name."""
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    quotes = " (numbers, true and false need quotes)" if isinstance(value, int | float) else ""
    raise ValueError(f"{show(value)} is not a name; expected {NAME}{quotes}")


def group(value: object) -> str:
    """Return the name or number of a group of this system; whether there is one, only its use can tell."""
    if isinstance(value, str) and _GROUP.fullmatch(value):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return str(value)
    raise ValueError(f"{show(value)} is no group; expected a group's name or number")


def dns_name(value: object) -> str:
    """Return a host name in lower case (RFC 1123 section 2.1); IP addresses are none, for they cannot be an SNI."""
    # Lower-casing turns some letters outside ASCII into letters inside.
    name = value.lower() if isinstance(value, str) and value.isascii() else ""
    if problem := name_problem(name):
        raise ValueError(f"{show(value)} {problem}; expected {DNS_NAME}")
    return name


def region(value: object) -> str:
    """Return a country or a continent, in lower case, as net/geo.py places clients."""
    word = value.lower() if isinstance(value, str) and value.isascii() else ""
    if word in CONTINENTS.values() or (_COUNTRY.fullmatch(word) and word != "eu"):
        return word
    continents = ", ".join(CONTINENTS.values())
    wanted = f"expected a country in two letters such as de or one of {continents}"
    raise ValueError(f"{show(value)} is not a region; {wanted}")


def address(value: object) -> Address | str:
    """Return an address that clients can be sent to, or a host name in lower case that resolves to some."""
    wanted = "expected an IPv4 or IPv6 address without a port, or a DNS name"
    text = value.lower() if isinstance(value, str) and value.isascii() else ""
    try:
        literal = parse_ip(text)
    except ValueError:
        number = not text or ":" in text or text.rpartition(".")[2].isdecimal()
        if problem := "is not an IP address" if number else name_problem(text):
            raise ValueError(f"{show(value)} {problem}; {wanted}") from None
        return text
    if not is_usable(literal):
        raise ValueError(f"{show(value)} is not one host's address that clients can use; {wanted}")
    return literal


def srv_name(value: object) -> str:
    """Return the name of a service in lower case (RFC 2782): `_service._tcp.example.com`, or `_udp`."""
    text = value.lower() if isinstance(value, str) and value.isascii() else ""
    service, _, rest = text.partition(".")
    protocol, _, domain = rest.partition(".")
    good = service.startswith("_") and protocol in {"_tcp", "_udp"}
    if not good or name_problem(service[1:]) or name_problem(domain) or len(text) > 253:
        raise ValueError(f"{show(value)} is not the name of a service; expected {SRV_NAME}")
    return text


def dns_server(value: object) -> Endpoint:
    """Return a DNS server: an IP address, with a port if that is not 53 (IPv6 addresses then go in brackets)."""
    with suppress(ValueError):
        literal = parse_ip(value) if isinstance(value, str) else None
        if literal is not None and is_usable(literal):
            return Endpoint(str(literal), 53)
    try:
        return endpoint(value)
    except ValueError:
        wanted = "expected an IP address such as 192.0.2.53, or with a port '192.0.2.53:5353' or '[2001:db8::53]:5353'"
        raise ValueError(f"{show(value)} is not a DNS server; {wanted}") from None


def endpoint(value: object) -> Endpoint:
    """Return where to listen: `192.0.2.1:4460`, `[2001:db8::1]:4460`, `0.0.0.0:4460`, `[::]:4460`."""
    wanted = "expected ADDRESS:PORT such as '0.0.0.0:4460' or '[::]:4460', in quotes"
    host, _, port_text = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = parse_ip(host[1:-1] if bracketed else host)
    except ValueError:
        raise ValueError(f"{show(value)} is not an IP address and a port; {wanted}") from None
    if is_local_notation(address):
        raise ValueError(f"{show(value)} has a zone or maps IPv4 into IPv6; {wanted}")
    if bracketed != (address.version == 6):
        raise ValueError(f"{show(value)} has brackets where they do not belong or lacks them; {wanted}")
    if not re.fullmatch("[1-9][0-9]{0,4}", port_text) or int(port_text) > 65535:
        raise ValueError(f"the port of {show(value)} is not a number from 1 to 65535; {wanted}")
    return Endpoint(str(address), int(port_text))


def etcd_endpoint(value: object) -> str:
    """Return the URL of a member of an etcd cluster: its scheme, host and port, and nothing more."""
    wanted = "expected a URL such as https://etcd-1.example.com:2379"
    if isinstance(value, str) and "@" in value:
        raise ValueError(f"a URL with a user in it, whose password must not stand here; {wanted}")
    if not isinstance(value, str) or not _ETCD_ENDPOINT.fullmatch(value):
        raise ValueError(f"{show(value)} is not where an etcd listens; {wanted}")
    return value.rstrip("/")


def prefix(value: object) -> str:
    """Return what all keys of a pool in etcd begin with; it begins and ends with a slash."""
    if isinstance(value, str) and _PREFIX.fullmatch(value):
        return f"{value.rstrip('/')}/"
    raise ValueError(f"{show(value)} is no prefix; expected one such as /ntspool/ or /ntspool/pool-1/")


def user(value: object) -> str:
    """Return the name of a user of etcd."""
    if isinstance(value, str) and value and value.isprintable():
        return value
    raise ValueError(f"{show(value)} is no user; expected the name of a user of etcd")


def whole(lowest: int, highest: int | None = None, otherwise: str = "") -> Callable[[object], int]:
    """Return the parser of a whole number from `lowest` to `highest`; `otherwise` names what else the key takes."""
    bounds = f"of at least {lowest}" if highest is None else f"from {lowest} to {highest}"
    wanted = f"a whole number {bounds}{otherwise}"

    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):  # to Python, true is 1
            raise ValueError(f"{show(value)} is not a whole number; expected {wanted}")  # noqa: TRY004
        if value < lowest:
            raise ValueError(f"{value} is below {lowest}; expected {wanted}")
        if highest is not None and value > highest:
            raise ValueError(f"{value} is above {highest}; expected {wanted}")
        return value

    return parse


def duration(shortest: float, otherwise: str = "", longest: float = LONGEST_DURATION) -> Callable[[object], float]:
    """Return the parser of a duration of at least `shortest` seconds; `otherwise` names what else the key takes."""
    bounds = f"from {spell_duration(shortest)} to {spell_duration(longest)}"
    wanted = f"a duration such as 500ms, 16s, 5m, 2h or 7d, {bounds}{otherwise}"

    def parse(value: object) -> float:
        seconds = _seconds(value)
        if seconds is None:
            raise ValueError(f"{show(value)} is not a duration; expected {wanted}")
        if seconds < shortest:
            raise ValueError(f"{show(value)} is shorter than {spell_duration(shortest)}; expected {wanted}")
        if seconds > longest:
            raise ValueError(f"{show(value)} is longer than {spell_duration(longest)}; expected {wanted}")
        return seconds

    return parse


def spell_duration(seconds: float) -> str:
    """Return `seconds` as operators write a duration, in the largest unit that divides it."""
    for unit in ("d", "h", "m", "s") if seconds else ("s",):
        if seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.12g}{unit}"
    return f"{seconds * 1000:.12g}ms"


def _seconds(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return float(found[1]) * _SECONDS[found[2] or "s"] if found else None


def rotation(value: object) -> float | None:
    """Return seconds between two rotations of the keys, None for `off`."""
    return None if value == "off" else duration(SHORTEST_ROTATION, ", or off")(value)


def workers(value: object) -> int | None:
    """Return the number of workers, None for `auto`."""
    return None if value == "auto" else whole(1, otherwise=", or auto")(value)


def flag(value: object) -> bool:
    """Return true or false, which YAML 1.2 has no other words for."""
    if isinstance(value, bool):
        return value
    raise ValueError(f"{show(value)} is neither true nor false; expected true or false")


def choice(words: Iterable[Word]) -> Callable[[object], Word]:
    """Return the parser of one of `words`."""
    known = {str(word): word for word in words}

    def parse(value: object) -> Word:
        if isinstance(value, str) and value in known:
            return known[value]
        raise ValueError(f"{show(value)} is not known; {expected_word(value, known)}")

    return parse


def expected_word(value: object, known: Iterable[str]) -> str:
    """Return which of `known` was meant or expected: the one that `value` resembles, else all of them."""
    words = list(known)
    near = get_close_matches(value.lower(), words, n=1) if isinstance(value, str) else []
    if near:
        return f"did you mean {near[0]}?"
    return f"expected {'one of ' if len(words) > 1 else ''}{', '.join(words)}"


def aead(value: object) -> Aead:
    """Return the AEAD algorithm of a name or an IANA number."""
    known = {aead.label: aead for aead in Aead}
    if isinstance(value, str) and value.upper() in known:
        return known[value.upper()]
    if isinstance(value, int) and not isinstance(value, bool) and value in known.values():
        return Aead(value)
    wanted = ", ".join(f"{spelt} ({aead.value})" for spelt, aead in known.items())
    raise ValueError(f"{show(value)} is not an AEAD algorithm of NTS; expected one of {wanted}")


def file_path(value: object, folder: Path) -> Path:
    """Return an absolute path; relative ones start in `folder`, that of the configuration file.

    `credential:NAME` is that of a credential which systemd passed.
    """
    if isinstance(value, str) and value.startswith(CREDENTIAL):
        return _credential(value)
    if isinstance(value, str) and value and value.isprintable():
        return folder / value
    raise ValueError(f"{show(value)} is not a path; expected one, absolute or relative to {folder}")


def secret_path(value: object, folder: Path) -> Path:
    """Return the path of a file that holds a secret, as `file_path` does; what may be the secret itself is not quoted.

    A file that is there may be named as it likes.
    """
    if isinstance(value, str) and _SECRET.search(value) and not _is_there(folder, value):
        raise ValueError("no such file; expected the path of one that holds the secret, which must not stand here")
    return file_path(value, folder)


def _is_there(folder: Path, value: str) -> bool:
    try:
        return value.startswith(CREDENTIAL) or (folder / value).exists()
    except (OSError, ValueError):
        return False


def _credential(value: str) -> Path:
    name = value.removeprefix(CREDENTIAL)
    if not _NAME.fullmatch(name):
        raise ValueError(f"{show(value)} names no credential; expected {CREDENTIAL}NAME")
    wanted = f"expected LoadCredential={name}:FILE in the service's unit"
    try:
        path = credential(name)
        found = path.is_file()
    except (LookupError, PermissionError) as error:
        raise ValueError(f"{show(value)}: {getattr(error, 'strerror', error)}; {wanted}") from None
    if not found:
        raise ValueError(f"{show(value)}: {path} is not there; {wanted}")
    return path


port = whole(1, 65535)
weight = whole(0, 256)  # HAProxy's range
at_least_one = whole(1)
interval = duration(SHORTEST_INTERVAL)
life = duration(SHORTEST_LIFE)
probe_timeout = duration(SHORTEST_PROBE_TIMEOUT)
slow_start = duration(0.0)
max_offset = duration(SHORTEST_OFFSET)
max_distance = duration(SHORTEST_OFFSET)
max_stratum = whole(1, 15)
percent = whole(0, 100)
session_timeout = duration(SHORTEST_SESSION)
dns_timeout = duration(SHORTEST_DNS_TIMEOUT)
cookies = choice(COOKIES)
