"""Options that several commands have, and how their values are read."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coordinator import config
from coordinator.finding import Whereabouts, find
from swarmpb.endpoints import Endpoint, LinkError, parse_endpoint

if TYPE_CHECKING:
    from coordinator.commands.client import AdminClient


def ip_address(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """Names are refused: they would hide which interface is meant."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError as error:
        raise click.BadParameter(
            f"{value!r} is no IP address, such as 127.0.0.1 or 0.0.0.0"
        ) from error


def public_keys(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> tuple[bytes, ...]:
    for value in values:
        if not re.fullmatch("[0-9a-fA-F]{64}", value):
            raise click.BadParameter(
                f"{value!r} is no owner's public key, 64 hexadecimal digits as `coordinator run"
                " show` prints them"
            )
    return tuple(bytes.fromhex(value) for value in values)


def in_a_folder(_ctx: click.Context, _param: click.Parameter, value: Path | None) -> Path | None:
    """Said at the start: minutes later it would be too late."""
    if value is not None and not value.parent.is_dir():
        raise click.BadParameter(f"there is no folder {value.parent}")
    return value


PORT = click.IntRange(0, 65535)


def endpoint(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Endpoint | None:
    """HOST:PORT, with a fingerprint or without, or a join link."""
    try:
        return None if value is None else parse_endpoint(value)
    except LinkError as error:
        raise click.BadParameter(str(error)) from error


ask = click.option(
    "--coordinator",
    "told",
    metavar="LINK",
    callback=endpoint,
    help="Which coordinator to ask: a join link of it, or HOST:PORT.  [default: this machine's]",
)
token_file = click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"The coordinator's admin token.  [default: {config.TOKEN_VARIABLE}, or that of this"
    " machine's coordinator]",
)
database_option = click.option(
    "--database",
    metavar="URL",
    envvar=config.DATABASE_VARIABLE,
    show_envvar=True,
    help="A PostgreSQL database, such as postgresql://user:password@host/name.  [default: a SQLite"
    " file in the state folder]",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


of_run = click.option("--run", "run_id", metavar="ID", required=True, help="The run's name.")


def asked(told: Endpoint | None) -> Whereabouts:
    """The coordinator that a command names, or this machine's own."""
    return find(told, config.state_dir())


def administering(where: Whereabouts, token_file: Path | None) -> AdminClient:
    """A client with the admin token; a context manager."""
    from coordinator.commands.client import AdminClient
    from coordinator.membership.admin_token import find as find_token

    return AdminClient(where.endpoint, find_token(token_file, config.state_dir()))
