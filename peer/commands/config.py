"""`peer config`: look at the settings and change them, also of a peer that runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from peer.commands.options import json_option, state_dir_option
from swarmpb.exits import UserError

_UNITS = {
    "limits.threads": "threads",
    "limits.max_temperature": "°C",
    "energy.watts": "W",
    "energy.price": "a kWh",
}
"""Of values that are bare numbers; the others carry theirs."""
_BASE_UNITS = {
    **dict.fromkeys(("limits.processor", "limits.accelerator"), "share"),
    **dict.fromkeys(("limits.memory", "limits.accelerator_memory", "limits.disk"), "bytes"),
    **dict.fromkeys(("limits.upload", "limits.download"), "bit/s"),
    **dict.fromkeys(("limits.disk_free", "limits.data_per_month"), "bytes"),
    "limits.idle_after": "s",
}
"""In which amounts are told to scripts."""
_UNSET = {
    "name": "from the peer id",
    "energy.watts": "not known",
    "energy.price": "not known",
    "limits.hours": "at all hours",
    "limits.idle_after": "also while somebody uses the machine",
    "limits.not_while": "whatever runs",
}
"""What holds where nothing is set; of the other limits that there is none."""


@click.group(epilog='Example: peer config set limits.upload "2 Mbit/s"')
def config() -> None:
    """Look at this machine's settings, and change them while peers run.

    They are in a TOML file. Where it is, `peer config path` says; PEER_CONFIG names another.
    """


@config.command("path")
def path_() -> None:
    """Say where the settings are, whether the file exists or not.

    \b
    Example: $EDITOR "$(peer config path)"
    """
    from peer.config import config_file

    click.echo(config_file())


@config.command("get")
@click.argument("key", required=False)
@json_option
def get(key: str | None, as_json: bool) -> None:
    """Show a setting, or all: the value with its unit, and where it was set.

    \b
    Example: peer config get limits.upload
    """
    from peer.config import known_keys
    from peer.settings_file import require_known

    if key is not None:
        require_known(key)
    rows = settings_rows(known_keys() if key is None else [key])
    if as_json:
        click.echo(json.dumps(rows if key is None else rows[0], indent=2))
        return
    widths = [max(len(row[column]) for row in rows) for column in ("key", "text")]
    for row in rows:
        click.echo(f"{row['key']:{widths[0]}}  {row['text']:{widths[1]}}  ({row['origin']})")


@config.command("set")
@click.argument("key")
@click.argument("value", nargs=-1, required=True)
@state_dir_option
def set_(key: str, value: tuple[str, ...], state_dir: Path | None) -> None:
    """Set KEY to VALUE in the file, and tell the peers that run here.

    An amount has its unit: "2 Mbit/s", "20 GB", "50%", "5 min". A list is several values.

    \b
    Example: peer config set limits.upload "2 Mbit/s"
    Example: peer config set limits.not_while steam blender
    """
    from peer.config import config_file
    from peer.settings_file import read_text, with_value, write_text

    path = config_file()
    change = with_value(read_text(path), key, value, path)
    write_text(path, change.text)
    click.echo(f"{key} = {_text(key, change.value)} in {path}")
    _tell(key, change.remaining, state_dir)


@config.command("unset")
@click.argument("key")
@state_dir_option
def unset(key: str, state_dir: Path | None) -> None:
    """Take KEY out of the file, so that its default holds, and tell the peers that run here.

    \b
    Example: peer config unset limits.upload
    """
    from peer.config import config_file
    from peer.settings_file import read_text, without_value, write_text

    path = config_file()
    change = without_value(read_text(path), key, path)
    if change is None:
        click.echo(f"{key} is not set in {path}")
        return
    write_text(path, change.text)
    click.echo(f"{key} is not set any more in {path}")
    _tell(key, change.remaining, state_dir)


def settings_rows(keys: list[str]) -> list[dict[str, Any]]:
    """Each key with what holds, in words too, and where it was set."""
    from peer.config import ENVIRONMENT, settings_of, validated

    values, origin = settings_of({})
    settings = validated(values, origin)
    rows = []
    for key in keys:
        table, _, name = key.rpartition(".")
        holds = getattr(getattr(settings, table) if table else settings, name)
        where = origin.get(key, "default")
        if where != "default":
            where = f"environment: {where}" if where in ENVIRONMENT.values() else f"file: {where}"
        rows.append(
            {
                "key": key,
                "value": _plain(holds),
                "unit": _BASE_UNITS.get(key, _UNITS.get(key, "")),
                "text": _text(key, values.get(key, holds)),
                "origin": where,
            }
        )
    return rows


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _text(key: str, value: Any) -> str:
    """A value for a person."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == "" or value == () or value == []:
        return _UNSET.get(key, "no limit" if key.startswith("limits.") else "not set")
    if isinstance(value, (list, tuple)):
        return ", ".join(str(it) for it in value)
    if isinstance(value, float) and key in _BASE_UNITS:  # a default
        return _with_unit(value, _BASE_UNITS[key])
    unit = _UNITS.get(key, "")
    return f"{value} {unit.removesuffix('s') if value == 1 else unit}".rstrip()


def _with_unit(value: float, unit: str) -> str:
    from peer.limits.units import bytes_text, rate_text, seconds_text, share_text

    writers = {"bytes": bytes_text, "bit/s": rate_text, "s": seconds_text, "share": share_text}
    return writers[unit](value)


def _tell(key: str, remaining: tuple[str, ...], state_dir: Path | None) -> None:
    """Have the peers that run here take the change, and say what became of it."""
    from peer.config import ENVIRONMENT, load_config
    from peer.control import reload
    from peer.local_runs import running_folders

    if os.getenv(variable := ENVIRONMENT.get(key, "")):
        click.echo(f"{variable} is set, and comes before the file")
    if remaining:
        click.echo(f"still wrong, and no peer starts with it: {'; '.join(remaining)}", err=True)
    try:
        folders = running_folders(load_config({"state_dir": state_dir}).state_dir)
    except UserError as error:
        click.echo(f"peers that run here were not told: {error}", err=True)
        return
    for folder in folders:
        try:
            reply = reload(folder)
        except UserError as error:
            click.echo(f"run {folder.name} did not take it: {error}", err=True)
            continue
        if key in reply.at_next_start:
            click.echo(f"run {folder.name} needs a restart for that: `peer leave` and `peer join`")
        elif key in reply.taken:
            click.echo(f"run {folder.name} goes on with it")
        else:
            click.echo(f"run {folder.name} has it already, or an option of its start comes first")
