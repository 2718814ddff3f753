"""`ntspool keys ...`: the keys that cookies are encrypted under."""

import sys
from pathlib import Path

import click

from ntspool.app.cli_options import (
    FILE,
    Form,
    complete_backend,
    config_option,
    form_options,
    gateway_options,
    show,
)

_output_option = click.option(
    "--output", "-o", type=FILE, help="Write the file (mode 0600, atomically) instead of printing it."
)
_yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group()
def keys() -> None:
    """Rotate and hand out the keys that cookies are encrypted under."""


@keys.command()
@form_options
@gateway_options
def status(socket: Path, form: Form) -> None:
    """Show the epochs, and which of them each backend has proved and when."""
    from ntspool.app.adminclient import call
    from ntspool.app.tables import keys_rows, keys_status

    answer = call(socket, "GET", "/v1/keys")
    show(form, answer, lambda: keys_status(answer), lambda: keys_rows(answer))


@keys.command()
@form_options
@gateway_options
def rotate(socket: Path, form: Form) -> None:
    """Rotate now, if that costs no client an NTS NAK; exit with 4 and say who it waits for if it would."""
    from ntspool.app.adminclient import call
    from ntspool.app.tables import current_epoch, keys_rows

    answer = call(socket, "POST", "/v1/keys/rotate")
    show(form, answer, lambda: f"epoch {current_epoch(answer)} is current\n", lambda: keys_rows(answer))


@keys.command()
@click.argument("epoch", type=click.IntRange(min=0))
@form_options
@gateway_options
@_yes_option
def revoke(epoch: int, socket: Path, form: Form, *, yes: bool) -> None:
    """Drop EPOCH at once, everywhere: its keys are in wrong hands. Clients with its cookies make a new key exchange."""
    from ntspool.app.adminclient import call
    from ntspool.app.tables import current_epoch, keys_rows

    known = {each["epoch"]: each for each in call(socket, "GET", "/v1/keys")["epochs"]}
    if epoch in known and not yes:
        click.echo(
            f"Epoch {epoch} is {known[epoch]['state']}; since it was started this gateway has minted "
            f"{known[epoch]['sessions']} sessions under it. Their clients, and those that got cookies of it from their "
            "backends since, will get an NTS NAK and come back for new keys.",
            err=True,
        )
        click.confirm(f"Revoke epoch {epoch}?", abort=True, err=True)
    answer = call(socket, "POST", "/v1/keys/revoke", {"epoch": epoch})
    told = f"epoch {epoch} is revoked, epoch {current_epoch(answer)} is current\n"
    show(form, answer, lambda: told, lambda: keys_rows(answer))


@keys.command()
@click.argument("name", required=False, shell_complete=complete_backend)
@config_option
@_output_option
@click.option(
    "--watch",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep one file for every backend fresh in this directory, until a signal ends it.",
)
def export(name: str | None, path: Path, output: Path | None, watch: Path | None) -> None:
    """Print or write the key file of the backend NAME in its daemon's format. It is secret."""
    from ntspool.app.export import key_file, watch_directory, write

    if (name is None) == (watch is None) or (watch is not None and output is not None):
        raise click.UsageError("expected the NAME of a backend, or --watch DIR")
    if watch is not None:
        watch_directory(path, watch)
        return
    contents = key_file(path, name or "")
    if output is None:
        sys.stdout.buffer.write(contents)
    else:
        write(output, contents)


@keys.command()
@config_option
@click.option("--output", "-o", type=FILE, required=True, help="Where to write the backup, mode 0600.")
def backup(path: Path, output: Path) -> None:
    """Copy the keyring to a safe place. The copy is as secret as the keyring, and encrypted if that is."""
    from ntspool.app.export import key_store, write

    with key_store(path) as kept:
        write(output, kept.backup())


@keys.command()
@click.argument("backup_file", metavar="FILE", type=FILE)
@config_option
@click.option("--replace", is_flag=True, help="Replace the keyring that stands, which then is lost.")
def restore(backup_file: Path, path: Path, replace: bool) -> None:
    """Make a backup the keyring; a running gateway takes it over on SIGHUP."""
    from ntspool.app.export import key_store, read

    with key_store(path) as kept:
        restored = kept.restore(read(backup_file), replace=replace)
    click.echo(f"restored; epoch {restored.current.number} is current. `kill -HUP` a running gateway")
