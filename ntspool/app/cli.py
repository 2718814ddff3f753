"""The command line. Each command imports what it needs when it runs, so that every command starts quickly."""

import re
import sys
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import NoReturn

import click

from ntspool import __version__
from ntspool.app.cli_agent import agent
from ntspool.app.cli_backend import backend
from ntspool.app.cli_bench import bench
from ntspool.app.cli_cluster import cluster
from ntspool.app.cli_completions import completions
from ntspool.app.cli_events import events
from ntspool.app.cli_keys import keys
from ntspool.app.cli_operate import probe
from ntspool.app.cli_reload import reload
from ntspool.app.cli_show import agents, backends, sessions, status
from ntspool.app.cli_wait import wait
from ntspool.errors import ConfigError, NtspoolError, RefusedError, UnreachableError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_REFUSED = 4

_FILE = click.Path(dir_okay=False, path_type=Path)


_HOST_PORT = re.compile(r"(?:\[(?P<ipv6>[^][]+)\]|(?P<host>[^][:]+))(?::(?P<port>[0-9]{1,5}))?")


def _host_port(value: str, default_port: int | None = None) -> tuple[str, int]:
    """Split `HOST`, `HOST:PORT`, an IPv6 literal, or one in brackets with a port."""
    host, port = value, default_port
    if not _is_ipv6(value):
        match = _HOST_PORT.fullmatch(value)
        host = match["ipv6"] or match["host"] if match else ""
        port = int(match["port"]) if match and match["port"] else default_port
    if not host or port is None or not 0 < port < 65536:
        raise click.BadParameter(f"{value!r}; expected for example 192.0.2.1:4460 or [2001:db8::1]:4460")
    return host, port


def _is_ipv6(value: str) -> bool:
    try:
        return isinstance(ip_address(value), IPv6Address)
    except ValueError:
        return False


def _ke_server(value: str) -> tuple[str, int]:
    return _host_port(value, default_port=4460)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ntspool")
def cli() -> None:
    """Put a whole fleet of NTP servers behind one NTS name."""


@cli.command()
@click.option("--config", "-c", "path", type=_FILE, default="/etc/ntspool/backends.yaml", show_default=True)
def serve(path: Path) -> None:
    """Run a gateway until SIGTERM or Ctrl-C; SIGHUP reloads configuration, certificates and keys."""
    from ntspool.app.serve import run

    run(path)


@cli.command("check-config")
@click.argument("path", metavar="FILE", type=_FILE)
def check_config(path: Path) -> None:
    """Check a configuration; print every mistake as file:line and exit with 2 if there is one."""
    from ntspool.config import load

    click.echo(f"{path}: good, {len(load(path).backends)} backends")


@cli.command()
@click.argument("server", metavar="HOST[:PORT]", type=_ke_server)
@click.option("--ca", type=_FILE, help="Trust the certificate authorities in this PEM file, and no others.")
@click.option("--name", help="The name that the server's certificate must have, if it is not HOST.")
@click.option("--timeout", type=float, default=5.0, show_default=True, help="Seconds for each step.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def query(server: tuple[str, int], ca: Path | None, name: str | None, timeout: float, as_json: bool) -> None:
    """Be a client once: NTS-KE, then authenticated NTP; exit with 0 if the time was authenticated."""
    import asyncio
    import json

    from ntspool.app.query import query as run_query
    from ntspool.net.keyexchange import Server

    host, port = server
    learned = asyncio.run(run_query(Server(host, port, name or host, ca), timeout))
    if as_json:
        click.echo(json.dumps(learned.as_json()))
    else:
        for label, value in learned.lines():
            click.echo(f"{label:<15} : {value}")
    if learned.time is None:
        sys.exit(EXIT_FAILED)


@cli.command()
@click.option("--listen", "-l", type=_host_port, multiple=True, required=True, help="ADDRESS:PORT; repeatable.")
@click.option("--keys", "-k", type=_FILE, required=True, help="Key file, as written by `ntspool keys export`.")
@click.option("--stratum", type=click.IntRange(1, 15), default=10, show_default=True)
def timeserver(listen: tuple[tuple[str, int], ...], keys: Path, stratum: int) -> None:
    """Serve this machine's clock over NTP with NTS; a new key file is loaded as soon as it is there."""
    from ntspool.app.serve import run_timeserver

    run_timeserver(listen, keys, stratum)


@cli.command()
@click.option("--once", is_flag=True, help="Play the story and exit: 0 if every step worked, 1 if not.")
@click.option(
    "--backends",
    type=click.Choice(["ntspool", "chrony"]),
    default="ntspool",
    show_default=True,
    help="Embedded time servers, or installed chronyd processes.",
)
def demo(once: bool, backends: str) -> None:
    """Build a whole pool on loopback out of real parts and show it at work."""
    from ntspool.app.demo import run

    sys.exit(run(once=once, chrony=backends == "chrony"))


_OPERATING = (status, backends, sessions, agents, events, probe, wait, completions)
for command in (agent, backend, bench, cluster, keys, reload, *_OPERATING):
    cli.add_command(command)


def _exit_status(error: NtspoolError) -> int:
    if isinstance(error, UnreachableError):
        return EXIT_UNREACHABLE
    return EXIT_REFUSED if isinstance(error, RefusedError) else EXIT_FAILED


def main() -> NoReturn:
    """Run the command line; our own errors end it with their words and an exit code, never with a traceback."""
    try:
        cli()
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_USAGE)
    except NtspoolError as error:
        click.echo(f"ntspool: {error}", err=True)
        sys.exit(_exit_status(error))
    sys.exit(0)
