"""`ntspool events`: what changed, when and why."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ntspool.app.cli_options import Form, form_options, gateway_options, show, show_rows

_USUAL = 20
_WAIT = 30
"""Seconds that the gateway may keep a question open while nothing happens."""
_PATIENCE = 15.0
"""Seconds beyond that after which the gateway is taken to be gone."""
_PAUSE = 0.2
"""Seconds between two questions when nothing has happened: a gateway that ends answers at once."""


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Go on with each event as it happens, until Ctrl-C.")
@click.option("--after", type=click.IntRange(min=0), help="Show those with a higher number than this.")
@click.option(
    "--lines", "-n", type=click.IntRange(min=0), help=f"Show so many, the newest.  [default: {_USUAL}, or all --after]"
)
@form_options
@gateway_options
def events(socket: Path, form: Form, *, follow: bool, after: int | None, lines: int | None) -> None:
    """Show what changed, when and why, one line an event; with --follow and --json one object a line."""
    from ntspool.app.adminclient import call_list
    from ntspool.app.tables_events import CSV_HEAD, event_row, events_table

    known = call_list(socket, "GET", f"/v1/events?after={after or 0}")
    wanted = lines if lines is not None else len(known) if after is not None else _USUAL
    shown = known[max(0, len(known) - wanted) :]
    if not follow:
        show(form, shown, lambda: events_table(shown), lambda: (CSV_HEAD, list(map(event_row, shown))))
        return
    newest = known[-1]["number"] if known else after or 0
    with contextlib.suppress(KeyboardInterrupt):
        _print(form, shown, first=True)
        for batch in _later(socket, newest):
            _print(form, batch)


def _later(socket: Path, newest: int) -> Iterator[list[dict[str, Any]]]:
    """Yield events after the number `newest` for ever, as they happen; raises UnreachableError once it is gone."""
    import time

    from ntspool.app.adminclient import call_list
    from ntspool.errors import UnreachableError

    while True:
        try:
            batch = call_list(socket, "GET", f"/v1/events?after={newest}&wait={_WAIT}", timeout=_WAIT + _PATIENCE)
        except UnreachableError as error:
            raise UnreachableError(f"the gateway is gone: {error}") from error
        if batch:
            newest = batch[-1]["number"]
            yield batch
        else:
            time.sleep(_PAUSE)


def _print(form: Form, batch: list[dict[str, Any]], *, first: bool = False) -> None:
    import json

    from ntspool.app.colours import shown
    from ntspool.app.tables_events import CSV_HEAD, event_line, event_row, events_head

    match form:
        case "json":
            text = "".join(f"{json.dumps(each)}\n" for each in batch)
        case "csv":
            show_rows(CSV_HEAD if first else (), list(map(event_row, batch)))
            return
        case "text":
            text = (events_head() if first else "") + "".join(map(event_line, batch))
            text = shown(text, sys.stdout)
    click.echo(text, nl=False)
