"""The tables of the first coordinators, which knew SQLite only and kept version 1 beside them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return  # there are no such databases
    op.create_table(
        "runs",
        sa.Column("run_id", sa.String, primary_key=True),
        sa.Column("spec", sa.LargeBinary, nullable=False),
        sa.Column("spec_hash", sa.LargeBinary, nullable=False),
        sa.Column("owner_key", sa.LargeBinary, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.Column("description", sa.String, nullable=False),
        sa.Column("target_tokens", sa.Integer, nullable=False),
        sa.Column("created_at_ms", sa.Integer, nullable=False),
    )
    op.create_table(
        "peers",
        sa.Column("run_id", sa.String, sa.ForeignKey("runs.run_id"), nullable=False),
        sa.Column("peer_id", sa.String, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("received_at", sa.Float, nullable=False),
        sa.Column("phase", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("tokens", sa.Integer, nullable=False),
        sa.Column("tokens_per_second", sa.Float, nullable=False),
        sa.Column("train_loss", sa.Float),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("version", sa.String, nullable=False),
        sa.UniqueConstraint("run_id", "peer_id"),
    )
    op.create_table(
        "outcomes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("run_id", sa.String, sa.ForeignKey("runs.run_id"), nullable=False),
        sa.Column("peer_id", sa.String, nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("attempt", sa.LargeBinary, nullable=False),
        sa.Column("committed", sa.Boolean, nullable=False),
        sa.Column("included", sa.Boolean, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("run_tokens", sa.Integer, nullable=False),
        sa.Column("own_tokens", sa.Integer, nullable=False),
        sa.Column("bytes_sent", sa.Integer, nullable=False),
        sa.Column("bytes_received", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("members", sa.Integer, nullable=False),
        sa.Column("finished_at_ms", sa.Integer, nullable=False),
        sa.Column("train_loss", sa.Float),
        sa.UniqueConstraint("run_id", "peer_id", "round", "attempt"),
    )
    op.create_table(
        "validations",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("run_id", sa.String, sa.ForeignKey("runs.run_id"), nullable=False),
        sa.Column("peer_id", sa.String, nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("run_tokens", sa.Integer, nullable=False),
        sa.Column("loss", sa.Float),
        sa.UniqueConstraint("run_id", "peer_id", "round"),
    )
