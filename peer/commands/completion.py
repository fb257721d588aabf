"""`peer completion`: what a shell needs to complete commands, options and the names of runs."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

_SHELLS: dict[str, type[ShellComplete]] = {
    "bash": BashComplete,
    "zsh": ZshComplete,
    "fish": FishComplete,
}
_INSTALL = {
    "bash": 'add to ~/.bashrc: eval "$(peer completion bash)"',
    "zsh": 'add to ~/.zshrc, after compinit: eval "$(peer completion zsh)"',
    "fish": "type once: peer completion fish > ~/.config/fish/completions/peer.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what has SHELL complete commands, options and the names of runs.

    \b
    bash:  add to ~/.bashrc  eval "$(peer completion bash)"
    zsh:   add to ~/.zshrc, after compinit  eval "$(peer completion zsh)"
    fish:  peer completion fish > ~/.config/fish/completions/peer.fish

    \b
    Example: eval "$(peer completion bash)"
    """
    command = context.find_root().command
    made = _SHELLS[shell](command, {}, "peer", "_PEER_COMPLETE")
    # not `made.source()`: it starts a bash to ask for its version, and complains to stderr
    click.echo(f"# {_INSTALL[shell]}")
    click.echo(made.source_template % made.source_vars())
