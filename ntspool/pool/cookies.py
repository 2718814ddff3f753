"""Cookies: mint and open, one function pair per daemon format."""

from dataclasses import dataclass, field
from enum import StrEnum

from ntspool.wire.aead import Aead


class CookieFormat(StrEnum):
    """Whose cookies a backend opens; the values of `cookies:` in backends.yaml."""

    CHRONY = "chrony"
    NTPSEC = "ntpsec"
    NTPD_RS = "ntpd-rs"
    NTSPOOL = "ntspool"


@dataclass(frozen=True, slots=True)
class Association:
    """What a cookie carries for its client: the negotiated AEAD and the two keys (RFC 8915 section 5.1)."""

    aead: Aead
    c2s: bytes = field(repr=False)
    s2c: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ServerKey:
    """One key that cookies are encrypted under; `id` is an unsigned 32-bit integer."""

    id: int
    secret: bytes = field(repr=False)
