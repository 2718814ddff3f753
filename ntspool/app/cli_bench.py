"""`ntspool bench`: load a gateway, politely unless told otherwise."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ntspool.net.load import Plan

_FASTEST = "max"
_HIGHEST_RATE = 100_000


def _rate(value: str) -> float | None:
    if value == _FASTEST:
        return None
    try:
        rate = float(value)
    except ValueError:
        rate = 0.0
    if not 0.1 <= rate <= _HIGHEST_RATE:
        raise click.BadParameter(f"{value!r}; expected a number from 0.1 to {_HIGHEST_RATE}, or {_FASTEST}")
    return rate


@click.command()
@click.argument("host")
@click.option("--port", "-p", type=click.IntRange(1, 65535), default=4460, show_default=True)
@click.option("--connections", type=click.IntRange(1, 2000), default=16, show_default=True, help="At once, at most.")
@click.option(
    "--rate", type=_rate, default="100", show_default=True, help="Sessions a second, or `max`: as fast as they go."
)
@click.option("--duration", type=click.FloatRange(0.5, 300), default=10, show_default=True, help="Seconds.")
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="Of this client.")
@click.option(
    "--ca",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Trust the certificate authorities in this PEM file, and no others.",
)
@click.option("--name", help="The name that the server's certificate must have, if it is not HOST.")
@click.option("--yes", is_flag=True, help="Do not ask whether the server is yours.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def bench(
    *,
    host: str,
    port: int,
    connections: int,
    rate: float | None,
    duration: float,
    processes: int,
    ca: Path | None,
    name: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Load the NTS-KE server HOST with real sessions, and tell how many it serves and how fast.

    Exit with 0 when there was at least one good session, with 3 when nothing answers.
    """
    from ntspool.app.bench import is_polite, resolve, run, try_once
    from ntspool.net.load import Plan

    if processes > connections:
        raise click.UsageError(f"--processes {processes} is more than --connections {connections}")
    plan = Plan(resolve(host, port), port, name or host, ca, connections, rate, duration)
    click.echo(announcement(plan, processes), err=True)
    if not yes and not is_polite(plan):
        click.confirm("This is more than a stranger's server should be asked for. Is it yours?", abort=True, err=True)
    try_once(plan)
    with _progress(duration) as tell:
        report = run(plan, processes, tell)
    if as_json:
        click.echo(json.dumps(report.as_json()))
    else:
        for label, value in report.lines():
            click.echo(f"{label:<18} : {value}")
    if not report.good:
        sys.exit(1)


def announcement(plan: "Plan", processes: int) -> str:
    """Return what a plan will do to whom."""
    pace = "as many sessions as they can" if plan.rate is None else f"{plan.rate:g} sessions a second"
    shared = "" if processes == 1 else f", from {processes} processes"
    return (
        f"{plan.host} port {plan.port}, as {plan.name}: {pace} by at most {plan.connections} clients at once, "
        f"for {plan.duration:g} seconds{shared}"
    )


@contextlib.contextmanager
def _progress(duration: float) -> Iterator[Callable[[float, int], None]]:
    """Yield what paints the progress on a terminal, and does nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _seconds, _sessions: None
        return
    told = ""
    steps = round(duration * 10)
    with click.progressbar(range(steps), file=sys.stderr, show_eta=False, item_show_func=lambda _: told) as bar:

        def tell(seconds: float, sessions: int) -> None:
            nonlocal told
            told = f"{sessions} sessions"
            bar.update(min(steps, round(seconds * 10)) - bar.pos)

        yield tell
