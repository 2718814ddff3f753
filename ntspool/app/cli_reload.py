"""`ntspool reload`: have the running gateway take over what changed, and tell how that went."""

from pathlib import Path

import click

from ntspool.app.cli_options import Form, form_options, gateway_options, show

_PATIENCE = 600.0
"""Seconds for replacing all workers: each must start, and the one in its place finish its sessions."""


@click.command()
@click.option("--workers", is_flag=True, help="Replace the worker processes instead, one by one; no client notices.")
@form_options
@gateway_options
def reload(socket: Path, form: Form, *, workers: bool) -> None:
    """Take over configuration, certificates and keys, and print the difference.

    If there is a mistake, all of them are printed, nothing is changed, and the exit code is 2.
    """
    from ntspool.app.adminclient import call
    from ntspool.app.tables_reload import reload_page, reload_rows

    if workers:
        call(socket, "POST", "/v1/workers/replace", timeout=_PATIENCE)
        click.echo("every worker is replaced")
        return
    answer = call(socket, "POST", "/v1/reload")
    show(form, answer, lambda: reload_page(answer), lambda: reload_rows(answer))
