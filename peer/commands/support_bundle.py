"""`peer support-bundle`: what somebody who helps wants to know, without who and where you are."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click

from peer.commands.options import state_dir_option
from swarmpb.exits import Exit, UserError


@click.command("support-bundle")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@state_dir_option
def support_bundle(file: Path | None, state_dir: Path | None) -> None:
    """Pack versions, settings, logs and checks into FILE, for somebody who helps.

    Secrets, addresses and names of machines and users are taken out. Nothing is sent anywhere.

    \b
    Example: peer support-bundle
    """
    from peer.config import PeerConfig, load_config
    from peer.limits.units import bytes_text
    from peer.support.bundle import content, write
    from peer.support.gathering import gather, known_here

    now = time.time()
    file = file or Path(f"murmuration-support-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz")
    if os.path.lexists(file):
        raise click.BadParameter(f"{file} exists already: choose another name")
    settings: Any
    try:
        config = load_config({"state_dir": state_dir})
        settings = _settings()
    except UserError as error:  # it is what somebody wants to know
        settings = {"wrong": str(error)}
        config = PeerConfig.model_validate(_defaults(state_dir))
    files = content(gather(config, settings, now), known_here(config))
    try:
        write(file, files, now)
    except OSError as error:
        raise UserError(Exit.STATE_FOLDER, f"cannot write {file}: {error.strerror}") from error
    for name, text in files.items():
        click.echo(f"{bytes_text(len(text.encode())):>8}  {name}")
    click.echo(f"wrote {file}: look through it before you give it to anybody (tar -xzf {file})")


def _settings() -> list[dict[str, Any]]:
    from peer.commands.config import settings_rows
    from peer.config import known_keys

    return settings_rows(known_keys())


def _defaults(state_dir: Path | None) -> dict[str, Any]:
    from peer.config import default_values

    return default_values() | ({"state_dir": state_dir} if state_dir else {})
