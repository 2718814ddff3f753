"""`ntspool report`: what an auditor asks of the backends' clocks, from the history that a gateway has kept."""

import contextlib
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from ntspool.app.cli_options import FILE, complete_backend, config_option

_DATES = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ")
_LIMITS = (1e-4, 1e-3)
_SCALES = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


def _from(value: str) -> float:
    """Return Unix seconds; a date alone is its beginning, in UTC."""
    return _moment(value).timestamp()


def _to(value: str) -> float:
    """Return Unix seconds; a date alone is its end, in UTC."""
    return _moment(value).timestamp() + 86400.0 * ("T" not in value)


def _moment(value: str) -> datetime:
    for form in _DATES:
        with contextlib.suppress(ValueError):
            return datetime.strptime(value, form).replace(tzinfo=UTC)
    raise click.BadParameter(f"{value!r}; expected a date in UTC such as 2026-10-31 or 2026-10-31T12:00")


def _last(value: str) -> float:
    """Return seconds, from a duration as in backends.yaml."""
    from ntspool.config.history import retention

    try:
        found = retention(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if found is None:
        raise click.BadParameter(f"{value!r}; expected a duration such as 30d")
    return found


def _limit(value: str) -> float:
    """Return seconds, from `100us`."""
    number = value.rstrip("mnus")
    try:
        limit = float(number) * _SCALES[value[len(number) :]]
    except (ValueError, KeyError):
        limit = 0.0
    if not 1e-9 <= limit <= 3600:
        raise click.BadParameter(f"{value!r}; expected a limit such as 100us or 1ms")
    return limit


@click.command()
@click.option("--from", "start", type=_from, metavar="DATE", help="The beginning, a date or moment in UTC.")
@click.option(
    "--to", "end", type=_to, metavar="DATE", help="The end, in UTC; a date includes that day.  [default: now]"
)
@click.option(
    "--last", type=_last, metavar="DURATION", help="In place of --from: so long before the end.  [default: 30d]"
)
@click.option(
    "--limit", "limits", type=_limit, metavar="LIMIT", multiple=True, help="Repeatable.  [default: 100us and 1ms]"
)
@click.option("--html", type=FILE, help="Write the whole report, with plots, as one HTML file.")
@click.option("--csv", "csv_file", type=FILE, help="Write a row for each address; - is standard output.")
@click.option("--history", type=FILE, help="The database.  [default: history.db in the state folder of --config]")
@config_option
@click.argument("backends", metavar="[BACKEND]...", nargs=-1, shell_complete=complete_backend)
def report(
    *,
    path: Path,
    history: Path | None,
    start: float | None,
    end: float | None,
    last: float | None,
    limits: tuple[float, ...],
    html: Path | None,
    csv_file: Path | None,
    backends: tuple[str, ...],
) -> None:
    """Report how the backends' clocks were over a time, from what the gateway's probes found; it may be running.

    Availability, offsets with their uncertainty, references, authentication failures, keys and changes: of all
    backends, or of those that are named. Without --html and --csv it is printed.
    """
    import time

    from ntspool.app.reporting import report as make
    from ntspool.pool.report import Period

    now = time.time()
    period = Period(*_period(start, end, last, now))
    made = make(history or _history(path), period, sorted(set(limits)) or _LIMITS, backends, now)
    if html is not None:
        from ntspool.net.page.report import document

        _write(html, document(made))
    if csv_file is not None:
        from ntspool.app.tables_report import report_csv

        _write(csv_file, report_csv(made))
    if html is None and csv_file is None:
        from ntspool.app.colours import shown
        from ntspool.app.tables_report import report_page

        click.echo(shown(report_page(made), sys.stdout), nl=False)


def _period(start: float | None, end: float | None, last: float | None, now: float) -> tuple[float, float]:
    if start is not None and last is not None:
        raise click.UsageError("expected --from or --last, not both")
    until = now if end is None else min(end, now)
    begin = until - (last or 30 * 86400.0) if start is None else start
    if begin >= until:
        raise click.UsageError("the period ends before it begins, or lies in the future")
    return begin, until


def _history(path: Path) -> Path:
    from ntspool.app.adminsocket import find_state
    from ntspool.net.historyschema import ENTRY

    return find_state(path) / ENTRY


def _write(path: Path, text: str) -> None:
    from ntspool.errors import LocalError

    if str(path) == "-":
        click.echo(text, nl=False)
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LocalError(f"{path} cannot be written: {error.strerror}") from error
    click.echo(f"{path}: written")
