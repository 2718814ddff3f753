"""`ntspool cluster ...`: the gateways of a pool that share what they agree on."""

from pathlib import Path

import click

from ntspool.app.cli_options import FILE, Form, config_option, form_options, gateway_options, show
from ntspool.errors import LocalError


@click.group()
def cluster() -> None:
    """Show the gateways of one pool, and what they share."""


@cluster.command()
@form_options
@gateway_options
def status(socket: Path, form: Form) -> None:
    """Show every gateway as this one knows it, where they differ, and whether their store answers."""
    from ntspool.app.adminclient import call
    from ntspool.app.tables_cluster import cluster_page, cluster_rows

    view = call(socket, "GET", "/v1/status")
    found = view.get("cluster")
    if found is None:
        raise LocalError("this gateway is alone: `store` in its backends.yaml names no etcd")
    show(form, found, lambda: cluster_page(view), lambda: cluster_rows(view))


@cluster.command()
@click.argument("name")
@gateway_options
def forget(name: str, socket: Path) -> None:
    """Forget the gateway NAME, which is no more, so that no rotation waits for it.

    Cookies that it made and that are not spent yet may lose their key by the next rotation.
    """
    from ntspool.app.adminclient import call

    call(socket, "POST", "/v1/cluster/forget", {"gateway": name})
    click.echo(f"gateway {name} is forgotten")


@cluster.command("import")
@click.argument("source", metavar="FILE", type=FILE)
@config_option
@click.option("--dry-run", is_flag=True, help="Show the difference and change nothing.")
def import_backends(source: Path, path: Path, dry_run: bool) -> None:
    """Make the backends in FILE those of all gateways, which from then on do not read their own files' backends."""
    from ntspool.app.cli_edit import show_difference
    from ntspool.app.clusterbackends import take_in

    difference = take_in(path, source, dry_run=dry_run)
    show_difference(difference)
    if not difference:
        click.echo("the cluster has these backends already; nothing to change", err=True)
    elif dry_run:
        click.echo("a dry run: nothing was changed", err=True)
    else:
        click.echo("the cluster's backends are changed; every gateway takes them over", err=True)
