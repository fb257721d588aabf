"""`coordinator backup` and `coordinator restore`."""

from __future__ import annotations

from pathlib import Path

import click

from coordinator import config
from coordinator.commands.options import database_option

of_state_dir = click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar=config.STATE_DIR_VARIABLE,
    show_envvar=True,
    help="The coordinator's.  [default: in the user's state folder]",
)


@click.command(epilog="Example: coordinator backup coordinator-2026-11-21.backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@of_state_dir
@database_option
def backup(file: Path, state_dir: Path | None, database: str | None) -> None:
    """Write all that this coordinator knows, and its keys, to the new file FILE.

    Also while it serves. Keep the file to yourself: who has it can speak for the coordinator's
    runs. Models of finished runs are not in it: `coordinator run export` writes those.
    """
    from coordinator.storage.backup import back_up

    rows = back_up(_settings(state_dir, database), file)
    click.echo(f"{rows} rows and the keys are in {file}")


@click.command(epilog="Example: coordinator restore coordinator-2026-11-21.backup")
@click.argument("file", type=click.Path(exists=True, path_type=Path, dir_okay=False))
@of_state_dir
@database_option
def restore(file: Path, state_dir: Path | None, database: str | None) -> None:
    """Make a coordinator of the backup FILE, in a new state folder and an empty database.

    Peers and owners know it as the one that it was. Run one of them only.
    """
    from coordinator.storage import backup as backups

    settings = _settings(state_dir, database)
    rows = backups.restore(settings, file)
    click.echo(f"{rows} rows and the keys are in place; go on with: coordinator serve")


def _settings(state_dir: Path | None, database: str | None) -> config.ServeSettings:
    return config.ServeSettings(
        state_dir=state_dir or config.default_state_dir(),
        owner_key=config.owner_key_path(),
        database_url=database,
    )
