"""The limits of `[limits]` as options of `peer join`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from peer.limits.settings import Limits

Command = TypeVar("Command", bound=Callable[..., Any])

_TEXTS = {
    "processor": ("SHARE", "Of all processors: 50%, or '1.5 processors'."),
    "memory": ("AMOUNT", "Of the machine's memory: 4 GB."),
    "accelerator": ("SHARE", "Of the accelerator's time: 50%."),
    "accelerator_memory": ("AMOUNT", "Of the accelerator's memory: 6 GB."),
    "disk": ("AMOUNT", "For checkpoints and training text: 20 GB."),
    "disk_free": ("AMOUNT", "Left free on the disk: 1 GB by default."),
    "upload": ("RATE", "All that is sent holds this rate: 2 Mbit/s."),
    "download": ("RATE", "All that is received holds this rate: 20 Mbit/s."),
    "data_per_month": ("AMOUNT", "Sent and received in a month: 100 GB."),
    "hours": ("TEXT", "When to train: 'mon-fri 19:00-08:00, sat-sun'."),
    "idle_after": ("TIME", "Train when nobody has used the machine so long: 5 min."),
}


def limit_options(command: Command) -> Command:
    """Options by the name of their key: `--upload` gives "upload"."""
    options = [
        click.option(
            "--threads",
            "threads",
            type=int,
            help="Of the arithmetic; by default all processors but one.",
        ),
        *(
            click.option(_flag(key), f"{key}", metavar=metavar, help=text)
            for key, (metavar, text) in _TEXTS.items()
        ),
        click.option(
            "--on-battery/--not-on-battery",
            "on_battery",
            default=None,
            help="Train on battery, too; not so by default.",
        ),
        click.option(
            "--max-temperature",
            "max_temperature",
            type=float,
            help="Degrees Celsius of processor and accelerator: 80.",
        ),
        click.option(
            "--not-while",
            "not_while",
            multiple=True,
            metavar="PROGRAM",
            callback=lambda _context, _option, values: values or None,
            help="Rest while this program runs; may be given more than once.",
        ),
        click.option("--niceness", "niceness", type=int, help="0 to 19; 10 by default."),
        click.option(
            "--io",
            "io",
            type=click.Choice(["idle", "normal"]),
            help="The disk is for others first (idle, the default).",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def by_key(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a command by the keys of the settings: "limits.upload" for `--upload`."""
    limits = Limits.model_fields
    return {f"limits.{key}" if key in limits else key: it for key, it in options.items()}


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")
