"""`ntspool agent ...`: what runs on a backend's machine."""

import sys
from pathlib import Path

import click
from click.core import ParameterSource

STATE = Path("/var/lib/ntspool-agent")

_FILE = click.Path(dir_okay=False, path_type=Path)
_DIRECTORY = click.Path(file_okay=False, path_type=Path)
_state_option = click.option(
    "--state", type=_DIRECTORY, default=STATE, show_default=True, help="Where the agent's certificate is."
)
_socket_option = click.option(
    "--chronyc-socket", type=_FILE, default="/run/chrony/chronyd.sock", show_default=True, help="chronyd's."
)
_conf_option = click.option(
    "--chrony-conf", type=_FILE, default="/etc/chrony/chrony.conf", show_default=True, help="chronyd's configuration."
)


@click.group(invoke_without_command=True)
@_state_option
@click.option(
    "--daemon",
    type=click.Choice(["chrony", "ntpsec", "ntpd-rs", "ntspool"]),
    help="Take keys for this daemon only.  [default: whichever the gateway names]",
)
@click.option("--key-file", type=_FILE, help="The daemon's key file.  [default: where Debian's daemon has it]")
@click.option("--ntp", default="127.0.0.1:123", show_default=True, help="ADDRESS:PORT where the daemon serves time.")
@_socket_option
@_conf_option
@click.option("--restart", help="Command that restarts the daemon.  [default: systemctl restart ntpsec or ntpd-rs]")
@click.pass_context
def agent(
    context: click.Context,
    *,
    state: Path,
    daemon: str | None,
    key_file: Path | None,
    ntp: str,
    chronyc_socket: Path,
    chrony_conf: Path,
    restart: str | None,
) -> None:
    """Carry the keys from the gateways into the time daemon of this machine, until SIGTERM or Ctrl-C."""
    if context.invoked_subcommand is not None:
        return
    import shlex

    from ntspool.app.agentrunner import LocalSetup, run

    words = tuple(shlex.split(restart)) if restart else None
    run(state, LocalSetup(daemon, key_file, _address(ntp), chronyc_socket, words, chrony_conf))


@agent.command()
@click.argument("token")
@click.option(
    "--gateway", "gateways", multiple=True, required=True, metavar="HOST:PORT", help="Its control port; repeatable."
)
@_state_option
@click.pass_context
def enroll(context: click.Context, token: str, gateways: tuple[str, ...], state: Path) -> None:
    """Exchange the TOKEN that `ntspool backend enroll` printed for a certificate; `-` reads it from standard input."""
    import asyncio

    from ntspool.net.agentclient import Gateway, enrol
    from ntspool.wire.secret import Secret

    if context.parent is not None and context.get_parameter_source("state") is ParameterSource.DEFAULT:
        state = context.parent.params["state"]
    try:
        parsed = [Gateway.parse(each) for each in gateways]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--gateway") from error
    reads = token == "-"  # noqa: S105  -- the word for standard input
    text = sys.stdin.readline().strip() if reads else token
    backend = asyncio.run(enrol(parsed, Secret(text.encode(errors="replace")), state))
    click.echo(f"enrolled as the agent of {backend}; its certificate is in {state}")


@agent.command("chrony-config")
@click.option("--write", is_flag=True, help="Write the snippet, and a throw-away certificate, instead of printing it.")
@click.option("--snippet", type=_FILE, default="/etc/chrony/conf.d/ntspool.conf", show_default=True)
@_conf_option
@click.option("--ntsdumpdir", type=_DIRECTORY, default="/var/lib/chrony", show_default=True)
@click.option("--ntsport", type=click.IntRange(1, 65535), help="Port for chronyd's own NTS-KE server, if not 4460.")
@_socket_option
def chrony_config(
    *, write: bool, snippet: Path, chrony_conf: Path, ntsdumpdir: Path, ntsport: int | None, chronyc_socket: Path
) -> None:
    """Print, or with --write install, what chronyd must be told, and say where its configuration contradicts that.

    With --write the exit code is 1 if anything does.
    """
    from datetime import UTC, datetime

    from ntspool.net.daemons.chronyconf import ChronySetup, contradictions
    from ntspool.net.daemons.chronysnippet import chrony_snippet, install_snippet

    setup = ChronySetup(ntsdumpdir, ntsdumpdir / "ntspool.crt", ntsdumpdir / "ntspool.key", chronyc_socket, ntsport)
    if not write:
        click.echo(chrony_snippet(setup), nl=False)
    elif install_snippet(snippet, setup, datetime.now(UTC)):
        click.echo(f"{snippet} written; restart chronyd to have it obeyed")
    else:
        click.echo(f"{snippet} is as it must be")
    found = contradictions(chrony_conf, setup)
    for each in found:
        click.echo(each, err=True)
    if write and found:
        sys.exit(1)


def _address(value: str) -> tuple[str, int]:
    from ipaddress import ip_address

    from ntspool.net.agentclient import Gateway

    try:
        parsed = Gateway.parse(value)
        return str(ip_address(parsed.host)), parsed.port
    except ValueError as error:
        raise click.BadParameter(f"{value!r}; expected for example 127.0.0.1:123", param_hint="--ntp") from error
