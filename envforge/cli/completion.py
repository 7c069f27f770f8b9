"""`envforge completion`."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print code that completes envforge's commands, options and environments.

    \b
    bash:  echo 'eval "$(envforge completion bash)"' >> ~/.bashrc
    zsh:   echo 'eval "$(envforge completion zsh)"' >> ~/.zshrc
    fish:  envforge completion fish > ~/.config/fish/completions/envforge.fish
    """  # noqa: D301 - click reads the backspace
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, "click.Choice lets only click's own shells through"  # noqa: S101
    completion = kind(ctx.find_root().command, {}, "envforge", "_ENVFORGE_COMPLETE")
    click.echo(completion.source())
