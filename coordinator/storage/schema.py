"""The tables of the coordinator's database. Columns are named like the fields in `domain`."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    text,
)

SCHEMA_VERSION = 3
"""Kept in SQLite's `user_version`; grows with every change below."""

UPGRADES: dict[int, tuple[str, ...]] = {
    1: (
        "ALTER TABLE peers ADD COLUMN journal BLOB NOT NULL DEFAULT x''",
        "ALTER TABLE peers ADD COLUMN taken_row INTEGER NOT NULL DEFAULT 0",
    ),
    2: (
        *(
            f"ALTER TABLE peers ADD COLUMN {name} VARCHAR NOT NULL DEFAULT ''"
            for name in ("processor", "accelerator", "system", "reach")
        ),
        *(
            f"ALTER TABLE peers ADD COLUMN {name} INTEGER NOT NULL DEFAULT 0"
            for name in ("cores", "memory_bytes", "upload", "download")
        ),
        "ALTER TABLE outcomes ADD COLUMN round_seconds FLOAT NOT NULL DEFAULT 0",
    ),
}
"""What turns a version's tables into those of the next; whole new tables are made besides."""

metadata = MetaData()

_KEY = BigInteger().with_variant(Integer, "sqlite")
"""Of a row: SQLite counts only a column of this very type by itself."""


def _of_run() -> Column[str]:
    return Column("run_id", ForeignKey("runs.run_id", ondelete="CASCADE"), nullable=False)


runs = Table(
    "runs",
    metadata,
    Column("run_id", String, primary_key=True),
    Column("spec", LargeBinary, nullable=False),
    Column("spec_hash", LargeBinary, nullable=False),
    Column("owner_key", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("description", String, nullable=False),
    Column("target_tokens", Integer, nullable=False),
    Column("created_at_ms", Integer, nullable=False),
)

peers = Table(
    "peers",
    metadata,
    _of_run(),
    Column("peer_id", String, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("phase", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("round", Integer, nullable=False),
    Column("tokens", Integer, nullable=False),
    Column("tokens_per_second", Float, nullable=False),
    Column("train_loss", Float),
    Column("name", String, nullable=False),
    Column("version", String, nullable=False),
    Column("journal", LargeBinary, nullable=False, server_default=text("x''")),
    Column("taken_row", Integer, nullable=False, server_default=text("0")),
    Column("processor", String, nullable=False, server_default=text("''")),
    Column("cores", Integer, nullable=False, server_default=text("0")),
    Column("memory_bytes", BigInteger, nullable=False, server_default=text("0")),
    Column("accelerator", String, nullable=False, server_default=text("''")),
    Column("system", String, nullable=False, server_default=text("''")),
    Column("upload", BigInteger, nullable=False, server_default=text("0")),
    Column("download", BigInteger, nullable=False, server_default=text("0")),
    Column("reach", String, nullable=False, server_default=text("''")),
    PrimaryKeyConstraint("run_id", "peer_id"),
)

# `id` keeps the order of arrival, in which the ledger of a run is read back
outcomes = Table(
    "outcomes",
    metadata,
    Column("id", Integer, primary_key=True),
    _of_run(),
    Column("peer_id", String, nullable=False),
    Column("round", Integer, nullable=False),
    Column("attempt", LargeBinary, nullable=False),
    Column("committed", Boolean, nullable=False),
    Column("included", Boolean, nullable=False),
    Column("reason", String, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("run_tokens", Integer, nullable=False),
    Column("own_tokens", Integer, nullable=False),
    Column("bytes_sent", Integer, nullable=False),
    Column("bytes_received", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("members", Integer, nullable=False),
    Column("finished_at_ms", Integer, nullable=False),
    Column("train_loss", Float),
    Column("round_seconds", Float, nullable=False, server_default=text("0")),
    UniqueConstraint("run_id", "peer_id", "round", "attempt"),
)

# a peer finishes a round once, whatever it says later
Index(
    "one_commit_a_round",
    outcomes.c.run_id,
    outcomes.c.peer_id,
    outcomes.c.round,
    unique=True,
    sqlite_where=outcomes.c.committed,
)

receipts = Table(
    "receipts",
    metadata,
    _of_run(),
    Column("peer_id", String, nullable=False),
    Column("round", BigInteger, nullable=False),
    Column("attempt", LargeBinary, nullable=False),
    Column("claimed_tokens", BigInteger, nullable=False),
    Column("merged_tokens", BigInteger, nullable=False),
    Column("included", Boolean, nullable=False),
    Column("reason", String, nullable=False),
    Column("observed", Boolean, nullable=False),
    Column("witnesses", Integer, nullable=False),
    Column("at", Double, nullable=False),
    PrimaryKeyConstraint("run_id", "peer_id", "round"),
    Index("receipts_of_a_round", "run_id", "round"),
)

validations = Table(
    "validations",
    metadata,
    Column("id", Integer, primary_key=True),
    _of_run(),
    Column("peer_id", String, nullable=False),
    Column("round", Integer, nullable=False),
    Column("run_tokens", Integer, nullable=False),
    Column("loss", Float),
    UniqueConstraint("run_id", "peer_id", "round"),
)

# of each run what its newest round said
coverage = Table(
    "coverage",
    metadata,
    Column("run_id", ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True),
    Column("round", Integer, nullable=False),
    Column("pass_chunks", Integer, nullable=False),
    Column("passes", Integer, nullable=False),
    Column("merged_once", Integer, nullable=False),
    Column("merged_again", Integer, nullable=False),
)

# the newest of each run; in them travels the charter
orders = Table(
    "orders",
    metadata,
    Column("run_id", ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True),
    Column("signed", LargeBinary, nullable=False),
)

invitations = Table(
    "invitations",
    metadata,
    _of_run(),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("uses_left", BigInteger),
    Column("expires_at", Double, nullable=False),
    Column("created_at", Double, nullable=False),
    PrimaryKeyConstraint("run_id", "secret_hash"),
)

members = Table(
    "members",
    metadata,
    _of_run(),
    Column("peer_id", String, nullable=False),
    Column("admitted_at", Double),
    Column("certified_until", Double),
    Column("invitation", LargeBinary, nullable=False),
    Column("banned_at", Double),
    Column("ban_reason", String, nullable=False),
    PrimaryKeyConstraint("run_id", "peer_id"),
)

# a number is never given twice, not even after its event was forgotten
events = Table(
    "events",
    metadata,
    Column("number", _KEY, primary_key=True),
    _of_run(),
    Column("at", Double, nullable=False),
    Column("kind", String, nullable=False),
    Column("text", String, nullable=False),
    Column("peer_id", String, nullable=False),
    Column("round", BigInteger),
    Index("events_of_a_run", "run_id", "number"),
    sqlite_autoincrement=True,
)
