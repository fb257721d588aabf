"""Tables that stay small: sums of what is old, and small numbers for peers and attempts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OLD = ("runs", "peers", "outcomes", "validations", "coverage")


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for table in OLD:
            op.rename_table(table, f"old_{table}")
    _create_runs()
    _create_peers()
    _create_rounds()
    _create_curves()


def _create_runs() -> None:
    """Runs, and what is said of them."""
    op.create_table(
        "runs",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("spec", sa.LargeBinary(), nullable=False),
        sa.Column("spec_hash", sa.LargeBinary(), nullable=False),
        sa.Column("owner_key", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("target_tokens", sa.BigInteger(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_table(
        "orders",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("signed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_table(
        "invitations",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("uses_left", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "secret_hash"),
    )
    op.create_table(
        "members",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("peer_id", sa.String(), nullable=False),
        sa.Column("admitted_at", sa.Double(), nullable=True),
        sa.Column("certified_until", sa.Double(), nullable=True),
        sa.Column("invitation", sa.LargeBinary(), nullable=False),
        sa.Column("banned_at", sa.Double(), nullable=True),
        sa.Column("ban_reason", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "peer_id"),
    )
    op.create_table(
        "events",
        sa.Column("number", KEY, nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("peer_id", sa.String(), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("number"),
        sqlite_autoincrement=True,
    )
    op.create_index("events_of_a_run", "events", ["run_id", "number"])
    op.create_table(
        "coverage",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("pass_chunks", sa.BigInteger(), nullable=False),
        sa.Column("passes", sa.BigInteger(), nullable=False),
        sa.Column("merged_once", sa.BigInteger(), nullable=False),
        sa.Column("merged_again", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_table(
        "thinned",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("attempts_before", sa.Double(), nullable=False),
        sa.Column("receipts_before", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id"),
    )


def _create_peers() -> None:
    """Who was ever heard of, and what each is credited with."""
    op.create_table(
        "peers",
        sa.Column("id", KEY, autoincrement=False, nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("peer_id", sa.String(), nullable=False),
        sa.Column("joined_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("run_id", "peer_id", name="peers_of_a_run"),
    )
    op.create_table(
        "peer_states",
        sa.Column("peer", KEY, autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("phase", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("tokens_per_second", sa.Double(), nullable=False),
        sa.Column("train_loss", sa.Double(), nullable=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("journal", sa.LargeBinary(), nullable=False),
        sa.Column("taken_row", sa.BigInteger(), nullable=False),
        sa.Column("processor", sa.String(), nullable=False),
        sa.Column("cores", sa.BigInteger(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("accelerator", sa.String(), nullable=False),
        sa.Column("system", sa.String(), nullable=False),
        sa.Column("upload", sa.BigInteger(), nullable=False),
        sa.Column("download", sa.BigInteger(), nullable=False),
        sa.Column("reach", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["peer"], ["peers.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("peer"),
    )
    op.create_table(
        "totals",
        sa.Column("peer", KEY, autoincrement=False, nullable=False),
        sa.Column("rounds", sa.BigInteger(), nullable=False),
        sa.Column("missed", sa.BigInteger(), nullable=False),
        sa.Column("claimed_tokens", sa.BigInteger(), nullable=False),
        sa.Column("merged_tokens", sa.BigInteger(), nullable=False),
        sa.Column("observed_tokens", sa.BigInteger(), nullable=False),
        sa.Column("missed_round", sa.BigInteger(), nullable=False),
        sa.Column("missed_reason", sa.String(), nullable=False),
        sa.Column("thinned_round", sa.BigInteger(), nullable=False),
        sa.Column("late", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["peer"], ["peers.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("peer"),
    )
    op.create_table(
        "credited",
        sa.Column("peer", KEY, autoincrement=False, nullable=False),
        sa.Column("span", sa.Integer(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("rounds", sa.BigInteger(), nullable=False),
        sa.Column("missed", sa.BigInteger(), nullable=False),
        sa.Column("claimed_tokens", sa.BigInteger(), nullable=False),
        sa.Column("merged_tokens", sa.BigInteger(), nullable=False),
        sa.Column("observed_tokens", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["peer"], ["peers.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("peer", "span", "start"),
        sqlite_with_rowid=False,
    )
    op.create_index("credited_by_time", "credited", ["span", "start"])


def _create_rounds() -> None:
    """Rounds, and what each peer told of them."""
    op.create_table(
        "attempts",
        sa.Column("id", KEY, autoincrement=False, nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("committed", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("members", sa.BigInteger(), nullable=False),
        sa.Column("run_tokens", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("round_seconds", sa.Double(), nullable=False),
        sa.Column("finished_by", sa.BigInteger(), nullable=False),
        sa.Column("included", sa.BigInteger(), nullable=False),
        sa.Column("bytes_sent", sa.BigInteger(), nullable=False),
        sa.Column("loss_sum", sa.Double(), nullable=False),
        sa.Column("loss_weight", sa.Double(), nullable=False),
        sa.Column("digests", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("run_id", "round", "attempt", name="attempts_at_a_round"),
    )
    op.create_index("attempts_by_time", "attempts", ["run_id", "at"])
    op.create_table(
        "digests",
        sa.Column("attempt", KEY, nullable=False),
        sa.Column("number", sa.SmallInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["attempt"], ["attempts.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("attempt", "number"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "words",
        sa.Column("attempt", KEY, nullable=False),
        sa.Column("peer", KEY, autoincrement=False, nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("committed", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["attempt"], ["attempts.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["peer"], ["peers.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("attempt", "peer"),
        sqlite_with_rowid=False,
    )
    op.create_index("words_of_a_peer", "words", ["peer", "round"])
    op.create_table(
        "receipts",
        sa.Column("peer", KEY, autoincrement=False, nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("attempt", KEY, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("claimed_tokens", sa.BigInteger(), nullable=False),
        sa.Column("merged_tokens", sa.BigInteger(), nullable=False),
        sa.Column("included", sa.Boolean(), nullable=False),
        sa.Column("observed", sa.Boolean(), nullable=False),
        sa.Column("witnesses", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["attempt"], ["attempts.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["peer"], ["peers.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("peer", "round"),
        sqlite_with_rowid=False,
    )
    op.create_index("receipts_of_an_attempt", "receipts", ["attempt"])
    op.create_table(
        "round_sums",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("span", sa.Integer(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("committed", sa.BigInteger(), nullable=False),
        sa.Column("void", sa.BigInteger(), nullable=False),
        sa.Column("disagreed", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("round_seconds", sa.Double(), nullable=False),
        sa.Column("rounds_timed", sa.BigInteger(), nullable=False),
        sa.Column("bytes_sent", sa.BigInteger(), nullable=False),
        sa.Column("loss_sum", sa.Double(), nullable=False),
        sa.Column("loss_weight", sa.Double(), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("run_tokens", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "span", "start"),
    )


def _create_curves() -> None:
    """What is plotted."""
    op.create_table(
        "validations",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("peer", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("run_tokens", sa.BigInteger(), nullable=False),
        sa.Column("loss", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "round", "peer"),
    )
    op.create_table(
        "samples",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("span", sa.Integer(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("looks", sa.BigInteger(), nullable=False),
        sa.Column("peers_live", sa.Double(), nullable=False),
        sa.Column("tokens_per_second", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "span", "start"),
    )
    op.create_table(
        "speeds",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("span", sa.Integer(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("peer", sa.BigInteger(), nullable=False),
        sa.Column("tokens_per_second", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "span", "start", "peer"),
        sqlite_with_rowid=False,
    )
