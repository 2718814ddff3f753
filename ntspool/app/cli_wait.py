"""`ntspool wait ready`: for scripts that start a gateway and then need it."""

from pathlib import Path

import click

from ntspool.app.cli_options import gateway_options


@click.group()
def wait() -> None:
    """Wait until something holds."""


@wait.command()
@click.option(
    "--timeout", type=click.FloatRange(min=0), default=60, show_default=True, help="Seconds; 0 looks once and tells."
)
@gateway_options
def ready(socket: Path, timeout: float) -> None:
    """Exit with 0 as soon as the gateway can serve clients, with 1 if that takes too long; it may yet have to start."""
    import time

    from ntspool.app.adminclient import call
    from ntspool.app.readiness import wait_ready
    from ntspool.errors import LocalError

    reason = wait_ready(
        lambda patience: call(socket, "GET", "/v1/status", timeout=patience), timeout, time.monotonic, time.sleep
    )
    if reason is not None:
        raise LocalError(f"not ready after {timeout:g} s: {reason}")
