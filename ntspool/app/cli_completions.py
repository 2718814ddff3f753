"""`ntspool completions`: what a shell must read to complete commands, options and the names of backends."""

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completions(context: click.Context, shell: str) -> None:
    """Print the completions of SHELL: `source <(ntspool completions bash)`, `ntspool completions fish | source`."""
    from click.shell_completion import get_completion_class

    maker = get_completion_class(shell)
    if maker is None:  # pragma: no cover  click knows all three
        raise click.UsageError(f"no completions for {shell}")
    click.echo(maker(context.find_root().command, {}, "ntspool", "_NTSPOOL_COMPLETE").source())
