"""Whether the server that a peer names can be one at all: an IP address or a host name."""

import re
from ipaddress import IPv4Address, IPv6Address

from ntspool.errors import WireError

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_LONGEST = 253


def check_server_name(name: str) -> None:
    """Raise WireError unless an NTPv4 Server record may carry `name` (RFC 8915 section 4.1.7).

    That is an address of one host, without brackets or zone, or a DNS name in ASCII (RFC 1123 section 2.1; with
    underscores, which resolvers take as well).
    """
    address = _address(name)
    if address is not None:
        if address.is_unspecified or address.is_multicast or (isinstance(address, IPv6Address) and address.scope_id):
            raise WireError("the server's address is not one host's")
        return
    labels = name.removesuffix(".").split(".")
    if len(name) > _LONGEST or labels[-1].isdecimal() or not all(map(_LABEL.fullmatch, labels)):
        raise WireError("the server's name is neither an address nor a DNS name")


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return IPv6Address(name) if ":" in name else IPv4Address(name)
    except ValueError:
        return None
