"""`ntspool reload`: have the running gateway take over what changed, and tell how that went."""

from pathlib import Path

import click

from ntspool.app.cli_options import gateway_options

_PATIENCE = 600.0
"""Seconds for replacing all workers: each must start, and the one in its place finish its sessions."""


@click.command()
@click.option("--workers", is_flag=True, help="Replace the worker processes instead, one by one; no client notices.")
@gateway_options
def reload(socket: Path, workers: bool) -> None:
    """Take over configuration, certificates and keys; print every mistake and exit with 2 if nothing was changed."""
    from ntspool.app.adminclient import call

    if workers:
        call(socket, "POST", "/v1/workers/replace", timeout=_PATIENCE)
        click.echo("every worker is replaced")
        return
    waiting = call(socket, "POST", "/v1/reload")["restart"]
    click.echo("reloaded" + (f"; a restart is needed for {', '.join(waiting)}" if waiting else ""))
