"""Attack a gateway: `python -m tests.abuse [--full | --chrony] [NAME ...]`.

Each scenario whose name holds one of the NAMEs, or all; a line of a table tells how each went. By default with a tenth
of everything, for a machine that has other work: of the connections, and of the places that the gateway has for them.
"""

import os
import sys
import tempfile
from pathlib import Path

import click

from tests.abuse.chrony import comes_again_after
from tests.abuse.scenarios import SCENARIOS
from tests.abuse.scene import Seen, attackers, play, scene

COLUMNS = (
    "attack",
    "connections/s",
    "healthy",
    "p99",
    "memory before, peak, after",
    "log lines",
    "counted",
    "ran, waited",
)


TENTH = 0.1
LIMITS_OF_A_TENTH = "{sessions: 1000, queue: {target: off}}"


def row(name: str, seen: Seen) -> str:
    counted = {**seen.labels("clients_turned_away"), **seen.labels("session_failures")}
    reasons = ", ".join(f"{label} {count}" for label, count in sorted(counted.items(), key=lambda each: -each[1])[:3])
    return (
        f"| {name} | {seen.rate:,.0f} | {seen.served:.1%} of {seen.healthy.total()} "
        f"| {seen.p99 * 1000:.0f} ms | {seen.before:.0f}, {seen.peak:.0f}, {seen.after:.0f} MB "
        f"| {seen.lines} | {reasons} | {seen.busy.ran:.1f} s, {seen.busy.waited:.1f} s |"
    )


@click.command(help=__doc__)
@click.argument("names", nargs=-1)
@click.option("--full", is_flag=True, help="with all connections, and the default limits")
@click.option("--chrony", is_flag=True, help="instead, when a chronyd comes again that was turned away")
@click.option("--core", help="where everything is to run")
def main(names: tuple[str, ...], full: bool, chrony: bool, core: str | None) -> None:
    if core is not None:
        os.sched_setaffinity(0, {int(core)})
    if chrony:
        with tempfile.TemporaryDirectory(prefix="ntspool-") as directory:
            click.echo(f"chronyd had its cookies {comes_again_after(Path(directory)):.1f} s after it was turned away")
        return
    limits = "{}" if full else LIMITS_OF_A_TENTH
    chosen = [each for each in SCENARIOS if not names or any(name in each.name for name in names)]
    click.echo("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    with tempfile.TemporaryDirectory(prefix="ntspool-") as directory, scene(Path(directory), limits) as set_up:
        for number, each in enumerate(chosen):
            commands = attackers(set_up, each, 3 if full else 1, f"127.66.{number}.0/24", 1.0 if full else TENTH)
            seen = play(set_up, commands, 25.0 if full else 10.0, 250 if full else 50)
            click.echo(row(each.name, seen))
            if len(seen.healthy) > 1:
                click.echo(f"  healthy clients: {dict(seen.healthy)}", err=True)


if __name__ == "__main__":
    sys.exit(main())
