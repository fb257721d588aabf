"""Run by Alembic: the migrations happen in the transaction of the connection that we hand over."""

from __future__ import annotations

from alembic import context

from coordinator.storage.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
context.run_migrations()
