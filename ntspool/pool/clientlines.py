"""What users of a pool write into their clients' configuration; docs/clients.md says more."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

NTS_KE_PORT = 4460
"""What clients assume (RFC 8915 section 4)."""

SERVERS = 4
"""How many servers a client should have: three tell which one is wrong, and the fourth may fail (RFC 8633 3.2)."""


class Client(StrEnum):
    """A program that keeps a clock, by the name of its package."""

    CHRONY = "chrony"
    NTPSEC = "ntpsec"
    NTPD_RS = "ntpd-rs"
    TIMESYNCD = "timesyncd"


TITLES = {
    Client.CHRONY: "chrony",
    Client.NTPSEC: "NTPsec",
    Client.NTPD_RS: "ntpd-rs",
    Client.TIMESYNCD: "systemd-timesyncd",
}
FILES = {
    Client.CHRONY: "/etc/chrony/chrony.conf",
    Client.NTPSEC: "/etc/ntpsec/ntp.conf",
    Client.NTPD_RS: "/etc/ntpd-rs/ntp.toml",
    Client.TIMESYNCD: "/etc/systemd/timesyncd.conf",
}
SEE = {
    Client.CHRONY: "chronyc -N authdata",
    Client.NTPSEC: "ntpq -c ntsinfo",
    Client.NTPD_RS: "ntp-ctl status",
    Client.TIMESYNCD: "timedatectl timesync-status",
}
"""How to see that a client is at work."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a pool offers: its name and port, how many of its slots (see names.py), and the file of a private authority.

    With 1 server there is no slot in its name. `authority` is empty where the certificate is publicly signed.
    """

    name: str
    port: int = NTS_KE_PORT
    servers: int = SERVERS
    authority: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The names that a client configures."""
        if self.servers == 1:
            return (self.name,)
        return tuple(f"{slot}.{self.name}" for slot in range(self.servers))


def offered(name: str, port: int, certified: Collection[str]) -> Offer:
    """Return what a pool offers whose certificates have the names `certified`: slots only if they cover them."""
    covered = f"*.{name}" in certified or all(each in certified for each in Offer(name).names)
    return Offer(name, port, SERVERS if covered else 1)


def lines(client: Client, offer: Offer) -> str:
    """Return the lines for a client's configuration, each ended; of systemd-timesyncd, comments alone."""
    match client:
        case Client.CHRONY:
            return _chrony(offer)
        case Client.NTPSEC:
            return _ntpsec(offer)
        case Client.NTPD_RS:
            return _ntpd_rs(offer)
        case Client.TIMESYNCD:
            return _timesyncd(offer)


def _chrony(offer: Offer) -> str:
    port = "" if offer.port == NTS_KE_PORT else f" ntsport {offer.port}"
    authority = f"ntstrustedcerts {offer.authority}\n" if offer.authority else ""
    return authority + "".join(f"server {name} iburst nts{port}\n" for name in offer.names)


def _ntpsec(offer: Offer) -> str:
    port = "" if offer.port == NTS_KE_PORT else f":{offer.port}"
    authority = f"nts ca {offer.authority}\n" if offer.authority else ""
    return authority + "".join(f"server {name}{port} nts iburst\n" for name in offer.names)


def _ntpd_rs(offer: Offer) -> str:
    port = "" if offer.port == NTS_KE_PORT else f":{offer.port}"
    authority = f'certificate-authority = "{offer.authority}"\n' if offer.authority else ""
    return "\n".join(f'[[source]]\nmode = "nts"\naddress = "{name}{port}"\n{authority}' for name in offer.names)


def _timesyncd(offer: Offer) -> str:
    return (
        "# systemd-timesyncd has no NTS, up to systemd 260 at least: the time that it gets, anybody on the way\n"
        f"# can forge. {offer.name} cannot serve it, for a pool behind NTS gives no plain time under its name.\n"
        "# Install chrony in its place: on Debian and Ubuntu its package replaces systemd-timesyncd.\n"
    )
