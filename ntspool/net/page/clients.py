"""How the pool's users point their clients at it: what `ntspool client-config` prints, too."""

from ntspool.net.page.markup import Markup, element
from ntspool.pool.clientlines import FILES, NTS_KE_PORT, SEE, TITLES, Client, Offer, lines, offered
from ntspool.pool.view import GatewayView


def clients(view: GatewayView) -> Markup:
    """Return the lines for each client's configuration."""
    name = view.names[0] if view.names else "ntp-pool.example.com"
    certified = {each for certificate in view.certificates for each in certificate.names}
    offer = offered(name, _port(view.listen), certified)
    told = (each for each in Client if each is not Client.TIMESYNCD)
    return element("div", *(_client(each, offer) for each in told), class_="clients")


def _client(client: Client, offer: Offer) -> Markup:
    return element(
        "article",
        element("h3", TITLES[client]),
        element("p", "In ", element("code", FILES[client]), ":"),
        element("pre", element("code", lines(client, offer).rstrip())),
        element("p", "To see it at work: ", element("code", SEE[client])),
    )


def timesyncd() -> Markup:
    """Return what is true of systemd-timesyncd."""
    return element(
        "p",
        element("strong", TITLES[Client.TIMESYNCD]),
        " knows no NTS and cannot use this pool: the time that it gets, anybody on the way can forge. "
        "Install one of the three above in its place.",
    )


def _port(listen: tuple[str, ...]) -> int:
    """Return the port that clients must name: the usual one if that is among those listened on."""
    ports = {int(each.rpartition(":")[2]) for each in listen if each.rpartition(":")[2].isdecimal()}
    return NTS_KE_PORT if NTS_KE_PORT in ports or not ports else min(ports)
