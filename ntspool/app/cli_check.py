"""`ntspool check`: what an NTS service really does, told to people, to programs, to CI and to a monitor."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from ntspool.app.cli_options import FILE, host_port, ke_server
from ntspool.errors import NtspoolError

if TYPE_CHECKING:
    from ntspool.app.checknagios import Outcome, Thresholds
    from ntspool.pool.exam.model import Examination, Progress
    from ntspool.pool.exam.plan import Plan

_EXIT_FAILED = 1
_EXIT_UNREACHABLE = 3
_STANDARD_OUTPUT = Path("-")
_DNS_PORT = 53
_Command = Callable[..., None]

_MONITORS_LIMIT = 50.0
"""Seconds for the whole under --nagios: monitors give a plugin a minute."""


class _Check(click.Command):
    """The command, whose wrong usage is UNKNOWN to a monitor; status 2 would mean CRITICAL."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line."""
        monitored = "--nagios" in args
        try:
            rest = super().parse_args(ctx, args)
            _check_forms(**ctx.params)
        except click.UsageError as error:
            if not monitored:
                raise
            _unknown(error.format_message())
        return rest


def _check_forms(*, as_json: bool, nagios: bool, junit: Path | None, **_: object) -> None:
    if as_json + nagios + (junit == _STANDARD_OUTPUT) > 1:
        raise click.UsageError("expected one of --json, --nagios and --junit -: each is all of the standard output")


def _no_colour(_context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        os.environ["NO_COLOR"] = "1"


def _dns_server(value: str) -> tuple[str, int]:
    return host_port(value, _DNS_PORT)


def _pair(name: str, warning: float, critical: float, what: str) -> Callable[[_Command], _Command]:
    said = f"With --nagios: {what}.  [default: {warning:g} {critical:g}]"
    return click.option(name, type=float, nargs=2, default=(warning, critical), metavar="WARNING CRITICAL", help=said)


@click.command(cls=_Check)
@click.argument("server", metavar="HOST[:PORT]", type=ke_server)
@click.option(
    "--sessions", type=click.IntRange(1, 1000), default=8, show_default=True, help="Sessions to collect servers by."
)
@click.option("--slots", type=click.IntRange(0, 10), default=4, show_default=True, help="Try the names 0.HOST and on.")
@click.option("-4", "only_v4", is_flag=True, help="IPv4 only.")
@click.option("-6", "only_v6", is_flag=True, help="IPv6 only.")
@click.option(
    "--quick/--thorough",
    default=None,
    help="Only what clients do, or also what only a tester does.  [default: thorough; with --nagios quick]",
)
@click.option("--ca", type=FILE, help="Trust the certificate authorities in this PEM file, and no others.")
@click.option("--insecure", is_flag=True, help="Go on where the certificate cannot be trusted, and tell that.")
@click.option(
    "--dns",
    type=_dns_server,
    metavar="ADDRESS",
    multiple=True,
    help="ADDRESS[:PORT] of a DNS server, not the system's.",
)
@click.option(
    "--timeout", type=click.FloatRange(0.1, 60), default=5, show_default=True, help="Seconds for each connection."
)
@click.option(
    "--rate",
    type=click.FloatRange(0.1, 100),
    default=2,
    show_default=True,
    help="Sessions a second, at most; and NTP requests to each server.",
)
@click.option(
    "--limit", type=click.FloatRange(1, 3600), help="Seconds for the whole.  [default: 300; with --nagios 50]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--junit",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Write JUnit XML to FILE, - for standard output.",
)
@click.option("--nagios", is_flag=True, help="Print one line, and exit as a monitoring plugin does.")
@click.option("--quiet", "-q", is_flag=True, help="Tell nothing but what is a FAIL or a NOTE.")
@click.option("--no-color", is_flag=True, expose_value=False, callback=_no_colour, help="As NO_COLOR=1 does.")
@_pair("--days-left", 14, 3, "days of the certificate, at least")
@_pair("--servers", 1, 1, "servers with good time, at least")
@_pair("--offset", 0.1, 1, "seconds between a server and this machine, at most")
@_pair("--root-distance", 1, 1.5, "seconds, at most")
@_pair("--ke-time", 2, 5, "seconds of a key exchange, at most")
def check(
    *,
    server: tuple[str, int],
    sessions: int,
    slots: int,
    only_v4: bool,
    only_v6: bool,
    quick: bool | None,
    ca: Path | None,
    insecure: bool,
    dns: tuple[tuple[str, int], ...],
    timeout: float,
    rate: float,
    limit: float | None,
    as_json: bool,
    junit: Path | None,
    nagios: bool,
    quiet: bool,
    **thresholds: tuple[float, float],
) -> None:
    """Examine the NTS service HOST as an independent client would, and tell what it does and what it should not.

    Exit with 0 when nothing is a FAIL, with 1 when something is, with 3 when nothing answers.
    """
    from ntspool.app.checknagios import Thresholds
    from ntspool.pool.exam.plan import Plan

    plan = Plan(
        host=server[0].lower().removesuffix("."),
        port=server[1],
        sessions=sessions,
        slots=slots,
        families=(4,) if only_v4 and not only_v6 else (6,) if only_v6 and not only_v4 else (4, 6),
        odd=not (nagios if quick is None else quick),
        timeout=timeout,
        rate=rate,
        limit=limit or (_MONITORS_LIMIT if nagios else 300.0),
        ca=ca,
        insecure=insecure,
        resolvers=dns,
    )
    if nagios:
        _monitor(plan, junit, Thresholds(**thresholds))
    examination = _examine(plan, quiet=quiet)
    if junit:
        _write_junit(junit, examination)
    if as_json:
        from ntspool.app.checkforms import as_json as json_of

        click.echo(json_of(examination))
    elif junit != _STANDARD_OUTPUT:
        click.echo(_report(examination, brief=quiet), nl=False)
    sys.exit(_exit_status(examination))


def _monitor(plan: "Plan", junit: Path | None, thresholds: "Thresholds") -> NoReturn:
    """Examine as a monitoring plugin, without a word besides its line."""
    from ntspool.app.checknagios import judge

    try:
        examination = _examine(plan, quiet=True)
        if junit:
            _write_junit(junit, examination)
    except (NtspoolError, OSError) as error:
        _unknown(str(error))
    _end(judge(examination, thresholds))


def _unknown(reason: str) -> NoReturn:
    from ntspool.app.checknagios import unknown

    _end(unknown(reason))


def _end(outcome: "Outcome") -> NoReturn:
    click.echo(outcome.line)
    sys.exit(outcome.status)


def _examine(plan: "Plan", *, quiet: bool) -> "Examination":
    import asyncio

    from ntspool.net.exam.examine import examine

    if quiet:
        return asyncio.run(examine(plan, lambda _done, _all, _next: None))
    click.echo(plan.describe(), err=True)
    with _progress() as progress:
        return asyncio.run(examine(plan, progress))


@contextlib.contextmanager
def _progress() -> Iterator["Progress"]:
    """Yield what paints the progress on a terminal, and does nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _done, _all, _next: None
        return
    told = ""
    with click.progressbar(range(1), file=sys.stderr, show_eta=False, item_show_func=lambda _: told) as bar:

        def tell(done: int, all_of_them: int, what: str) -> None:
            nonlocal told
            told = what
            bar.length = max(all_of_them, 1)
            bar.update(min(done, bar.length) - bar.pos)
            bar.render_progress()

        yield tell


def _write_junit(path: Path, examination: "Examination") -> None:
    from ntspool.app.checkforms import as_junit
    from ntspool.errors import StateError

    text = as_junit(examination)
    if path == _STANDARD_OUTPUT:
        click.echo(text, nl=False)
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StateError(f"{path} cannot be written: {error.strerror}") from error


def _report(examination: "Examination", *, brief: bool) -> str:
    """Return the report as it is to be printed: on a terminal as wide as that, and with headings that stand out."""
    import shutil

    from ntspool.app.checkreport import headings, report
    from ntspool.app.colours import shown, wanted

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    text = shown(report(examination, brief=brief, width=width), sys.stdout)
    return _embolden(text, headings()) if wanted(sys.stdout) else text


def _embolden(text: str, headings: Sequence[str]) -> str:
    return "".join(f"\x1b[1m{each}\x1b[0m\n" if each in headings else f"{each}\n" for each in text.splitlines())


def _exit_status(examination: "Examination") -> int:
    if not any(each.connect is not None for each in examination.addresses):
        return _EXIT_UNREACHABLE
    return _EXIT_FAILED if examination.failed else 0
