"""How the pool's users point their clients at it; docs/clients.md says more."""

from collections.abc import Iterator

from ntspool.net.page.markup import Markup, element
from ntspool.pool.view import GatewayView

NTS_KE_PORT = 4460
"""What clients assume (RFC 8915 section 4)."""


def clients(view: GatewayView) -> Markup:
    """Return the lines for each client's configuration."""
    name = view.names[0] if view.names else "ntp-pool.example.com"
    return element("div", *(_client(*each) for each in _lines(name, _port(view.listen))), class_="clients")


def _lines(name: str, port: int) -> Iterator[tuple[str, str, str, str]]:
    """Yield each client's name, its configuration file, the lines for it, and how to see that it works."""
    own = port != NTS_KE_PORT
    yield (
        "chrony",
        "/etc/chrony/chrony.conf",
        f"server {name} iburst nts{f' ntsport {port}' if own else ''}",
        "chronyc -N authdata",
    )
    yield "NTPsec", "/etc/ntpsec/ntp.conf", f"server {name}{f':{port}' if own else ''} nts iburst", "ntpq -p"
    address = f"{name}:{port}" if own else name
    yield "ntpd-rs", "/etc/ntpd-rs/ntp.toml", f'[[source]]\nmode = "nts"\naddress = "{address}"', "ntp-ctl status"


def _client(client: str, file: str, lines: str, see: str) -> Markup:
    return element(
        "article",
        element("h3", client),
        element("p", "In ", element("code", file), ":"),
        element("pre", element("code", lines)),
        element("p", "To see it at work: ", element("code", see)),
    )


def timesyncd() -> Markup:
    """Return what is true of systemd-timesyncd."""
    return element(
        "p",
        element("strong", "systemd-timesyncd"),
        " knows no NTS and cannot use this pool: the time that it gets, anybody on the way can forge. "
        "Install one of the three above in its place.",
    )


def _port(listen: tuple[str, ...]) -> int:
    """Return the port that clients must name: the usual one if that is among those listened on."""
    ports = {int(each.rpartition(":")[2]) for each in listen if each.rpartition(":")[2].isdecimal()}
    return NTS_KE_PORT if NTS_KE_PORT in ports or not ports else min(ports)
