"""`ntspool backend add|set|remove`: edit backends.yaml and have the running gateway take it over.

The difference goes to standard output, so that it can be kept or applied elsewhere; words go to standard error.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ntspool.app.cli_options import config_option

if TYPE_CHECKING:
    from ntspool.app.backendsfile import Change

_Command = TypeVar("_Command", bound=Callable[..., Any])
_COLOURS = (("---", None), ("+++", None), ("@@", "cyan"), ("-", "red"), ("+", "green"))


def _edit_options(command: _Command) -> _Command:
    """Give a command the options that every edit has."""
    options = (
        config_option,
        click.option("--dry-run", is_flag=True, help="Show the difference and write nothing."),
        click.option("--no-reload", is_flag=True, help="Leave it to `ntspool reload` to make the change take effect."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("name")
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True)
@click.option("--port", help="NTP port.")
@click.option("--weight", help="Share of the clients, 0 to 256.")
@click.option(
    "--cookies", help="Whose cookies it opens: chrony, ntpsec, ntpd-rs or ntspool; fixed-key: it is asked for its own."
)
@click.option(
    "--ke-token", metavar="FILE", help="With fixed-key: the file with the token that its NTS-KE server knows us by."
)
@click.option("--ke-host", help="With fixed-key: where its NTS-KE server is, if not at its own address.")
@click.option("--ke-port", help="With fixed-key: the port of that.")
@click.option("--ke-ca", metavar="FILE", help="With fixed-key: the authorities of its certificate, in PEM.")
@click.option("--aeads", help="AEAD algorithms that it serves, by name or number, with commas: 30,15.")
@click.option("--key-group", help="The set of backends that it shares its cookie keys with.")
@click.option("--region", help="Whose clients it is for, with commas: de,europe.")
@_edit_options
def add(
    name: str, addresses: tuple[str, ...], path: Path, dry_run: bool, no_reload: bool, **options: str | None
) -> None:
    """Add a backend to backends.yaml, and reload."""
    from ntspool.app.backendsfile import added, settings_of

    stated = {"address": ",".join(addresses), **{key: text for key, text in options.items() if text is not None}}
    _edit(path, added(name, settings_of(stated)), dry_run=dry_run, no_reload=no_reload)


@click.command("set")
@click.argument("name")
@click.argument("settings", metavar="KEY=VALUE...", nargs=-1, required=True)
@_edit_options
def set_keys(name: str, settings: tuple[str, ...], path: Path, dry_run: bool, no_reload: bool) -> None:
    """Change a backend in backends.yaml, and reload.

    For example weight=20 or region=de,europe; `region=` takes the key out, so that its default holds.
    """
    from ntspool.app.backendsfile import changed, setting

    try:
        changes = dict(map(setting, settings))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    _edit(path, changed(name, changes), dry_run=dry_run, no_reload=no_reload)


@click.command()
@click.argument("name")
@_edit_options
def remove(name: str, path: Path, dry_run: bool, no_reload: bool) -> None:
    """Remove a backend from backends.yaml, and reload."""
    from ntspool.app.backendsfile import removed

    _edit(path, removed(name), dry_run=dry_run, no_reload=no_reload)
    click.echo(
        f"Clients that have cookies of {name} go on asking it, so leave it running; `ntspool backend drain {name}` "
        f"before it is removed lets them go first. If it was stolen, `ntspool backend revoke {name}`.",
        err=True,
    )


def show_difference(difference: Iterable[str]) -> None:
    """Print a difference, by lines, in colours."""
    for line in difference:
        colour = next((colour for prefix, colour in _COLOURS if line.startswith(prefix)), None)
        click.echo(click.style(line, fg=colour) if colour else line)


def _edit(path: Path, change: "Change", *, dry_run: bool, no_reload: bool) -> None:
    from ntspool.app import clusterbackends
    from ntspool.app.backendsfile import rewrite

    shared = clusterbackends.rewrite(path, change, dry_run=dry_run)
    difference = rewrite(path, change, dry_run=dry_run) if shared is None else shared
    show_difference(difference)
    if shared is not None:
        said = "a dry run: nothing was changed" if dry_run else "the cluster's backends are changed on every gateway"
        click.echo(said if difference else "the cluster's backends are so already; nothing to change", err=True)
    elif not difference:
        click.echo(f"{path} says so already; nothing to change", err=True)
    elif dry_run:
        click.echo("a dry run: nothing was written", err=True)
    elif no_reload:
        click.echo(f"{path} is changed; `ntspool reload` makes it take effect", err=True)
    else:
        _reload(path)


def _reload(path: Path) -> None:
    from ntspool.app import declared
    from ntspool.app.adminclient import call
    from ntspool.config import load
    from ntspool.errors import LocalError, UnreachableError

    try:
        waiting = call(declared.admin_socket(load(path)), "POST", "/v1/reload")["restart"]
    except UnreachableError as error:
        if not isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError):
            raise UnreachableError(f"{error}; {path} is changed already") from error
        click.echo(f"{path} is changed; no gateway runs that could take it over ({error})", err=True)
    except LocalError as error:
        raise LocalError(f"the gateway does not take it over: {error}\n{path} is changed already") from error
    else:
        more = f"; a restart is needed for {', '.join(waiting)}" if waiting else ""
        click.echo(f"{path} is changed, and the gateway has taken it over{more}", err=True)
