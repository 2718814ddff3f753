"""`ntspool client-config`: what the pool's users write into their clients' configuration."""

from pathlib import Path

import click

from ntspool.app.cli_options import config_option
from ntspool.pool.clientlines import NTS_KE_PORT, SERVERS, Client, Offer, lines, offered
from ntspool.pool.names import SLOTS


def _dns_name(value: str) -> str:
    from ntspool.pool.hosts import name_problem

    name = value.lower() if value.isascii() else ""
    if problem := name_problem(name):
        raise click.BadParameter(f"{value!r} {problem}")
    return name


@click.command("client-config")
@click.argument("client", metavar="CLIENT", type=click.Choice([str(each) for each in Client]))
@click.option(
    "--name",
    type=_dns_name,
    metavar="NAME",
    help="The pool's name; nothing is then read from --config.  [default: its first one]",
)
@click.option("--port", type=click.IntRange(1, 65535), help="Its NTS-KE port.  [default: as configured, or 4460]")
@click.option(
    "--servers",
    type=click.IntRange(1, SLOTS),
    help="Several are slots of the name.  [default: 4, or 1 where the pool's certificates cover no slots]",
)
@click.option("--ca", metavar="FILE", help="Where clients have the certificate of a private authority.")
@config_option
def client_config(
    *, client: str, name: str | None, port: int | None, servers: int | None, ca: str | None, path: Path
) -> None:
    """Print the lines for the configuration of a client: chrony, ntpsec, ntpd-rs or timesyncd.

    Of systemd-timesyncd, which has no NTS, it tells what to do instead.
    """
    known = Offer(name, NTS_KE_PORT, SERVERS) if name else _configured(path)
    offer = Offer(known.name, port or known.port, servers or known.servers, ca or "")
    click.echo(lines(Client(client), offer), nl=False)


def _configured(path: Path) -> Offer:
    """Return what the pool offers that is configured by the file at `path`; raises ConfigError."""
    from ntspool.app.declared import certificates
    from ntspool.config import load
    from ntspool.net.tls import dns_names

    declared = load(path)
    certified = {name for each in certificates(declared) for name in dns_names(each)}
    ports = [each.address.port for each in declared.listen]
    return offered(declared.pool.names[0], NTS_KE_PORT if NTS_KE_PORT in ports else min(ports), certified)
