"""The command line. Each command imports what it needs when it runs, so that every command starts quickly."""

import errno
import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from ntspool import __version__
from ntspool.app.cli_agent import agent
from ntspool.app.cli_backend import backend
from ntspool.app.cli_bench import bench
from ntspool.app.cli_check import check
from ntspool.app.cli_clients import client_config
from ntspool.app.cli_cluster import cluster
from ntspool.app.cli_completions import completions
from ntspool.app.cli_events import events
from ntspool.app.cli_keys import keys
from ntspool.app.cli_operate import probe
from ntspool.app.cli_options import FILE, host_port, ke_server
from ntspool.app.cli_reload import reload
from ntspool.app.cli_report import report
from ntspool.app.cli_show import agents, backends, sessions, status
from ntspool.app.cli_wait import wait
from ntspool.errors import ConfigError, NtspoolError, RefusedError, UnreachableError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_REFUSED = 4


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ntspool")
def cli() -> None:
    """Put a whole fleet of NTP servers behind one NTS name."""


@cli.command()
@click.option("--config", "-c", "path", type=FILE, default="/etc/ntspool/backends.yaml", show_default=True)
def serve(path: Path) -> None:
    """Run a gateway until SIGTERM or Ctrl-C; SIGHUP reloads configuration, certificates and keys."""
    from ntspool.app.serve import run

    run(path)


@cli.command("check-config")
@click.argument("path", metavar="FILE", type=FILE)
def check_config(path: Path) -> None:
    """Check a configuration; print every mistake as file:line and exit with 2 if there is one."""
    from ntspool.config import load

    click.echo(f"{path}: good, {len(load(path).backends)} backends")


@cli.command()
@click.argument("server", metavar="HOST[:PORT]", type=ke_server)
@click.option("--ca", type=FILE, help="Trust the certificate authorities in this PEM file, and no others.")
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
@click.option("--listen", "-l", type=host_port, multiple=True, required=True, help="ADDRESS:PORT; repeatable.")
@click.option("--keys", "-k", type=FILE, required=True, help="Key file, as written by `ntspool keys export`.")
@click.option("--own-keys", is_flag=True, help="Make the key file and put a new key into it every day.")
@click.option("--stratum", type=click.IntRange(1, 15), default=10, show_default=True)
@click.option("--ke-listen", type=ke_server, multiple=True, help="Speak NTS-KE at ADDRESS[:PORT] too; repeatable.")
@click.option("--certificate", type=FILE, help="The NTS-KE server's certificate chain in PEM.")
@click.option("--private-key", type=FILE, help="Its private key in PEM.")
@click.option("--tokens", type=FILE, help="Tokens of the pools that may ask for cookies, one a line.")
def timeserver(
    *,
    listen: tuple[tuple[str, int], ...],
    keys: Path,
    own_keys: bool,
    stratum: int,
    ke_listen: tuple[tuple[str, int], ...],
    certificate: Path | None,
    private_key: Path | None,
    tokens: Path | None,
) -> None:
    """Serve this machine's clock over NTP with NTS; a new key file is loaded as soon as it is there."""
    from ntspool.app.timeserving import KeyExchanging, TimeServing, run

    exchanging = None
    if ke_listen:
        if certificate is None or private_key is None:
            raise click.UsageError("--ke-listen needs --certificate and --private-key")
        exchanging = KeyExchanging(ke_listen, certificate, private_key, tokens)
    elif certificate or private_key or tokens:
        raise click.UsageError("--certificate, --private-key and --tokens are of use with --ke-listen only")
    run(TimeServing(listen, keys, own_keys, stratum, exchanging))


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
for command in (agent, backend, bench, check, client_config, cluster, keys, reload, report, *_OPERATING):
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
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _give_up_output(error)
    sys.exit(0)


def _give_up_output(error: OSError) -> NoReturn:
    """Say that standard output takes nothing, as on a full disk; what is left of it would fail again at the end."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nowhere, sys.stdout.fileno())
    click.echo(f"ntspool: {error.strerror or error}", err=True)
    sys.exit(EXIT_FAILED)
