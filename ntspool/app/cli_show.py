"""`ntspool status`, `backends`, `sessions` and `agents`: the running gateway as it is now."""

from pathlib import Path

import click

from ntspool.app.cli_options import Form, form_options, gateway_options, show

NUMERIC = click.option("--numeric", "-n", is_flag=True, help="Show addresses. No command ever asks the DNS.")
_EVENTS = 5
"""How many of the newest events are on the status screen."""


@click.command()
@form_options
@gateway_options
def status(socket: Path, form: Form) -> None:
    """Show the gateway on one screen, what is wrong with it first."""
    from ntspool.app.adminclient import call, call_list
    from ntspool.app.tables_status import status_page, status_rows

    view = call(socket, "GET", "/v1/status")
    events = call_list(socket, "GET", "/v1/events?after=0")[-_EVENTS:] if form == "text" else []
    show(form, view, lambda: status_page(view, events), lambda: status_rows(view))


@click.command()
@NUMERIC
@form_options
@gateway_options
def backends(socket: Path, form: Form, *, numeric: bool) -> None:
    """Show every backend, those first that need somebody: a row for each of its addresses."""
    from ntspool.app.adminclient import call
    from ntspool.app.tables_backends import backends_rows, backends_table

    view = call(socket, "GET", "/v1/status")
    known = view["backends"]
    show(form, known, lambda: backends_table(view, numeric=numeric), lambda: backends_rows(known))


@click.command()
@form_options
@gateway_options
def sessions(socket: Path, form: Form) -> None:
    """Show how many clients came, how their sessions ended, and which backends they got."""
    from ntspool.app.adminclient import call
    from ntspool.app.tables_sessions import sessions_page, sessions_rows

    view = call(socket, "GET", "/v1/status")
    shares = [{key: each[key] for key in ("name", "sessions", "share", "fair_share")} for each in view["backends"]]
    answer = {**view["sessions"], "backends": shares}
    show(form, answer, lambda: sessions_page(view), lambda: sessions_rows(view))


@click.command()
@form_options
@gateway_options
def agents(socket: Path, form: Form) -> None:
    """Show which backends' agents have asked for keys, and what they have proved; those first that need somebody."""
    from ntspool.app.adminclient import call
    from ntspool.app.tables_sessions import agents_rows, agents_table

    keys = call(socket, "GET", "/v1/keys")
    show(form, keys["agents"], lambda: agents_table(keys), lambda: agents_rows(keys))
