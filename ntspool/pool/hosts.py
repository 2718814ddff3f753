"""What the name and the address of one host may look like, whoever states them: backends.yaml or the DNS."""

import re
from ipaddress import IPv6Address

from ntspool.pool.model import Address

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123 section 2.1


def name_problem(name: str) -> str | None:
    """Return why `name`, in lower case, is not a host name (RFC 1123 section 2.1), None if it is one.

    IP addresses are none, for they can be neither resolved nor an SNI.
    """
    labels = name.split(".")
    if labels[-1].isdecimal() or ":" in labels[-1]:
        return "is a number or an IP address"
    if any(not _LABEL.fullmatch(label) for label in labels):
        return "is not a DNS name (labels of 1 to 63 letters, digits and inner hyphens, no final dot)"
    return "is longer than 253 characters" if len(name) > 253 else None


def is_usable(address: Address) -> bool:
    """Tell whether `address` is one host's, in a notation that clients anywhere can use."""
    return not (address.is_unspecified or address.is_multicast or is_local_notation(address))


def is_local_notation(address: Address) -> bool:
    """Tell whether `address` has a zone or maps IPv4 into IPv6."""
    return isinstance(address, IPv6Address) and bool(address.scope_id or address.ipv4_mapped)
