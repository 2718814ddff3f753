"""`ntspool backend`: the group of commands on single backends, and which agents may fetch a backend's keys."""

from pathlib import Path

import click

from ntspool.app import cli_edit
from ntspool.app.cli_options import config_option, name_argument


@click.group()
def backend() -> None:
    """Show, operate, add, change, remove and enrol single backends."""


for command in (cli_edit.add, cli_edit.set_keys, cli_edit.remove):
    backend.add_command(command)


@backend.command()
@name_argument
@config_option
def enroll(name: str, path: Path) -> None:
    """Print a token that lets one agent fetch the keys of the backend NAME; it is good once, and for an hour."""
    from ntspool.app.enrol import new_token

    click.echo(new_token(path, name).reveal().decode())


@backend.command()
@name_argument
@config_option
def revoke(name: str, path: Path) -> None:
    """Shut out every agent of the backend NAME at once, and make its unused tokens worthless."""
    from ntspool.app.enrol import shut_out

    number = shut_out(path, name)
    click.echo(f"certificates and tokens of {name} revoked: {number}; `ntspool keys revoke` if its keys are in danger")
