"""What many commands have in common: which gateway to ask, how to print, and names that complete themselves."""

import functools
import os
import re
import sys
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ntspool.errors import LocalError, NtspoolError

if TYPE_CHECKING:
    from ntspool.app.tables import Rows

Form = Literal["text", "json", "csv"]

FILE = click.Path(dir_okay=False, path_type=Path)
_SOCKET_VARIABLE = "NTSPOOL_SOCKET"
DEFAULT_CONFIG = Path("/etc/ntspool/backends.yaml")
COMPLETION_TIMEOUT = 0.5
"""Seconds in which a gateway must name its backends to a shell."""

_HOST_PORT = re.compile(r"(?:\[(?P<ipv6>[^][]+)\]|(?P<host>[^][:]+))(?::(?P<port>[0-9]{1,5}))?")
_KE_PORT = 4460

config_option = click.option("--config", "-c", "path", type=FILE, default=DEFAULT_CONFIG, show_default=True)
_socket_option = click.option(
    "--socket",
    "-s",
    type=FILE,
    envvar=_SOCKET_VARIABLE,
    help=f"The gateway's admin socket, or ${_SOCKET_VARIABLE}.  [default: the one that --config tells]",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_csv_option = click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a header line.")


def gateway_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command --config and --socket, and the admin socket that they lead to as its argument `socket`."""

    @config_option
    @_socket_option
    @functools.wraps(command)
    def with_socket(*args: object, path: Path, socket: Path | None, **more: object) -> None:
        command(*args, socket=_socket(path, socket), **more)

    return with_socket


def form_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command --json and --csv, and what they ask for as its argument `form`."""

    @_json_option
    @_csv_option
    @functools.wraps(command)
    def with_form(*args: object, as_json: bool, as_csv: bool, **more: object) -> None:
        if as_json and as_csv:
            raise click.UsageError("expected --json or --csv, not both")
        form: Form = "json" if as_json else "csv" if as_csv else "text"
        command(*args, form=form, **more)

    return with_form


def show(form: Form, answer: object, text: Callable[[], str], rows: Callable[[], "Rows"]) -> None:
    """Print an answer of the gateway: as it came, as the table `text`, or as the `rows` of a CSV file."""
    match form:
        case "json":
            import json

            click.echo(json.dumps(answer))
        case "csv":
            show_rows(*rows())
        case "text":
            from ntspool.app.colours import shown

            click.echo(shown(text(), sys.stdout), nl=False)


def show_rows(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print CSV, below a header unless `head` is empty; None becomes nothing, truths `true` and `false`."""
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    if head:
        writer.writerow(head)
    writer.writerows([[str(cell).lower() if isinstance(cell, bool) else cell for cell in row] for row in rows])
    sys.stdout.flush()


def known_backend(socket: Path, name: str) -> dict[str, Any]:
    """Return the whole view of a gateway that has a backend `name`; raises LocalError with likely names if not."""
    from ntspool.app.adminclient import call

    view = call(socket, "GET", "/v1/status")
    names = [each["name"] for each in view["backends"]]
    if name not in names:
        import difflib

        likely = difflib.get_close_matches(name, names)
        told = f"did you mean {' or '.join(likely)}?" if likely else f"there are {', '.join(names) or 'none'}"
        raise LocalError(f"there is no backend {name!r}; {told}")
    return view


def complete_backend(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Return the backends of the running gateway whose names begin so; none, silently, when it does not answer."""
    from ntspool.app.adminclient import call

    told = context.params.get("socket") or os.environ.get(_SOCKET_VARIABLE)
    try:
        socket = _socket(context.params.get("path") or DEFAULT_CONFIG, Path(told) if told else None)
        view = call(socket, "GET", "/v1/status", timeout=COMPLETION_TIMEOUT)
        return [each["name"] for each in view["backends"] if each["name"].startswith(begun)]
    except (NtspoolError, LookupError, TypeError, AttributeError):
        return []


name_argument = click.argument("name", shell_complete=complete_backend)


def _socket(path: Path, socket: Path | None) -> Path:
    if socket is not None:
        return socket
    from ntspool.app.adminsocket import find_socket

    return find_socket(path)


def host_port(value: str, default_port: int | None = None) -> tuple[str, int]:
    """Split `HOST`, `HOST:PORT`, an IPv6 literal, or one in brackets with a port; raises BadParameter."""
    host, port = value, default_port
    if not _is_ipv6(value):
        match = _HOST_PORT.fullmatch(value)
        host = match["ipv6"] or match["host"] if match else ""
        port = int(match["port"]) if match and match["port"] else default_port
    if not host or port is None or not 0 < port < 65536:
        raise click.BadParameter(f"{value!r}; expected for example 192.0.2.1:4460 or [2001:db8::1]:4460")
    return host, port


def ke_server(value: str) -> tuple[str, int]:
    """Do as `host_port`; without a port it is that of NTS-KE."""
    return host_port(value, _KE_PORT)


def _is_ipv6(value: str) -> bool:
    try:
        return isinstance(ip_address(value), IPv6Address)
    except ValueError:
        return False
