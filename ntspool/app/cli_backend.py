"""`ntspool backend ...`: the backends, and which agents may fetch their keys."""

from pathlib import Path

import click

from ntspool.app import cli_edit
from ntspool.app.cli_keys import config_option


@click.group()
def backend() -> None:
    """Add, change and remove backends; let their agents in, and shut them out."""


for command in (cli_edit.add, cli_edit.set_keys, cli_edit.remove):
    backend.add_command(command)


@backend.command()
@click.argument("name")
@config_option
def enroll(name: str, path: Path) -> None:
    """Print a token that lets one agent fetch the keys of the backend NAME; it is good once, and for an hour."""
    from ntspool.app.enrol import new_token

    click.echo(new_token(path, name))


@backend.command()
@click.argument("name")
@config_option
def revoke(name: str, path: Path) -> None:
    """Shut out every agent of the backend NAME at once, and make its unused tokens worthless."""
    from ntspool.app.enrol import shut_out

    number = shut_out(path, name)
    click.echo(f"certificates and tokens of {name} revoked: {number}; `ntspool keys revoke` if its keys are in danger")
