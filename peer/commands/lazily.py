"""Commands that are imported when they are needed: a health check must not cost a second."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """A group whose commands lie in `peer/commands/NAME.py`, each named as its module."""

    def __init__(self, *arguments: Any, names: tuple[str, ...], **options: Any) -> None:
        """names: of the commands, as they are typed."""
        super().__init__(*arguments, **options)
        self._names = names

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(self._names)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self._names:
            return None
        module = name.replace("-", "_")
        command: click.Command = getattr(import_module(f"peer.commands.{module}"), module)
        return command
