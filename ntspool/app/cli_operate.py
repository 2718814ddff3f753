"""`ntspool backend show|drain|maint|ready|weight` and `ntspool probe`: single backends of the running gateway."""

import sys
from pathlib import Path
from typing import Any

import click

from ntspool.app.cli_backend import backend
from ntspool.app.cli_options import Form, form_options, gateway_options, known_backend, name_argument, show

_DECLARED = "declared"
_HIGHEST_WEIGHT = 256
_EXIT_FALSE = 1


@backend.command("show")
@name_argument
@form_options
@gateway_options
def show_backend(name: str, socket: Path, form: Form) -> None:
    """Show all that is known of the backend NAME."""
    from ntspool.app.tables_backends import backend_page, backends_rows

    view = known_backend(socket, name)
    found = next(each for each in view["backends"] if each["name"] == name)
    show(form, found, lambda: backend_page(found, view["now"]), lambda: backends_rows([found]))


@backend.command()
@name_argument
@form_options
@gateway_options
def drain(name: str, socket: Path, form: Form) -> None:
    """Send no new clients to the backend NAME. It is probed and keeps its keys, and its clients notice nothing."""
    _act(socket, name, "drain", None, form)


@backend.command()
@name_argument
@form_options
@gateway_options
def maint(name: str, socket: Path, form: Form) -> None:
    """Send no new clients to the backend NAME and do not probe it, for maintenance: its failures are no news."""
    _act(socket, name, "maint", None, form)


@backend.command()
@name_argument
@form_options
@gateway_options
def ready(name: str, socket: Path, form: Form) -> None:
    """End `drain` or `maint` of the backend NAME: it gets clients again as soon as its probes are good."""
    _act(socket, name, "ready", None, form)


def _weight(value: str) -> int | None:
    if value == _DECLARED:
        return None
    if not (value.isascii() and value.isdecimal()) or int(value) > _HIGHEST_WEIGHT:
        raise click.BadParameter(f"{value!r}; expected 0 to {_HIGHEST_WEIGHT}, or `{_DECLARED}`")
    return int(value)


@backend.command("weight")
@name_argument
@click.argument("weight", type=_weight, metavar="WEIGHT")
@form_options
@gateway_options
def weigh(name: str, weight: int | None, socket: Path, form: Form) -> None:
    """Give the backend NAME another WEIGHT for now, 0 to 256; `declared` goes back to that of backends.yaml."""
    _act(socket, name, "weight", {"weight": weight}, form)


@click.command()
@name_argument
@form_options
@gateway_options
def probe(name: str, socket: Path, form: Form) -> None:
    """Probe every address of the backend NAME now, tell what was found, and exit with 1 unless all of it was good."""
    from ntspool.app.adminclient import call_list
    from ntspool.app.tables_probe import probe_page, probe_rows, went_well

    known_backend(socket, name)
    answer = call_list(socket, "POST", f"/v1/backends/{name}/probe")
    show(form, answer, lambda: probe_page(answer), lambda: probe_rows(answer))
    if not went_well(answer):
        sys.exit(_EXIT_FALSE)


def _act(socket: Path, name: str, verb: str, body: dict[str, Any] | None, form: Form) -> None:
    from ntspool.app.adminclient import call
    from ntspool.app.tables_backends import backends_rows, sentence

    known_backend(socket, name)
    answer = call(socket, "POST", f"/v1/backends/{name}/{verb}", body)
    show(form, answer, lambda: sentence(answer), lambda: backends_rows([answer]))
