"""Which rows of a peer's journal are taken, and how often the text was merged: version 2."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return  # there are no such databases
    op.add_column(
        "peers", sa.Column("journal", sa.LargeBinary, nullable=False, server_default=sa.text("x''"))
    )
    op.add_column(
        "peers", sa.Column("taken_row", sa.Integer, nullable=False, server_default=sa.text("0"))
    )
    op.create_table(
        "coverage",
        sa.Column("run_id", sa.String, sa.ForeignKey("runs.run_id"), primary_key=True),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("pass_chunks", sa.Integer, nullable=False),
        sa.Column("passes", sa.Integer, nullable=False),
        sa.Column("merged_once", sa.Integer, nullable=False),
        sa.Column("merged_again", sa.Integer, nullable=False),
    )
