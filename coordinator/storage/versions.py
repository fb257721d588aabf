"""From the tables that another version of the coordinator left to those of this one."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from coordinator.storage.schema import HEAD
from swarmpb.exits import Exit, UserError

MIGRATIONS = Path(__file__).parent / "migrations"

BEFORE_ALEMBIC = {1: "0001", 2: "0002"}
"""What SQLite's `user_version` said before migrations were counted as they are now."""


def bring_up_to_date(connection: Connection, name: str, otherwise: str) -> None:
    """Make the tables of a new database, or bring an older one's up to date, or change nothing.

    `UserError` (STATE_FOLDER) if a newer coordinator wrote it. `name` and `otherwise` are for
    people: which database, and what to do if they do not want to use that coordinator.
    """
    with connection.begin():
        version = _version(connection)
        if version == HEAD:
            return
        if version is not None and version not in _known():
            raise UserError(
                Exit.STATE_FOLDER,
                f"{name} has version {version} and this coordinator writes {HEAD};"
                f" use the coordinator that wrote it, or {otherwise}",
            )
        _upgrade(connection, version)
        _finish(connection)


def require_present(connection: Connection, name: str) -> None:
    """`UserError` (STATE_FOLDER) unless the tables are those of this coordinator."""
    with connection.begin():
        version = _version(connection)
    if version != HEAD:
        raise UserError(
            Exit.STATE_FOLDER,
            f"{name} has version {version or 0} and this coordinator reads {HEAD}; start it once"
            " to bring an older one up to date",
        )


def _version(connection: Connection) -> str | None:
    """The newest migration that a database has seen; None: none at all."""
    if inspect(connection).has_table("alembic_version"):
        version = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return str(version) if version is not None else None
    if connection.dialect.name != "sqlite":
        return None
    before = int(connection.scalar(text("PRAGMA user_version")) or 0)
    return BEFORE_ALEMBIC.get(before, str(before)) if before else None


def _known() -> set[str]:
    return {path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("*.py")}


def _upgrade(connection: Connection, version: str | None) -> None:
    from alembic import command  # slow to import, and seldom needed
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    if version is not None:
        command.stamp(config, version)
    command.upgrade(config, "head")


def _finish(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.execute(text("PRAGMA user_version = 0"))
