"""The tables of the coordinator's database, as the newest migration leaves them.

What grows with every round of every peer (`words`, `receipts`) refers to peers and attempts by
small numbers, and has no keys but those: about 110 bytes of disk for both together. Where sums of
it are kept, columns of the same names hold them.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
)

HEAD = "0005"
"""The newest migration."""

metadata = MetaData()

KEY = BigInteger().with_variant(Integer, "sqlite")
"""Of a row: SQLite finds rows by a column of this very type without an index."""


def _number(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _text(name: str) -> Column[str]:
    return Column(name, String, nullable=False)


def _bytes(name: str) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=False)


def _measure(name: str) -> Column[float]:
    return Column(name, Double, nullable=False)


def _yes_no(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False)


def _of_run(primary_key: bool = False) -> Column[str]:
    return Column(
        "run_id",
        ForeignKey("runs.run_id", ondelete="CASCADE"),
        nullable=False,
        primary_key=primary_key,
    )


def _of_peer(primary_key: bool = False) -> Column[int]:
    return Column(
        "peer",
        KEY,
        ForeignKey("peers.id", ondelete="CASCADE"),
        nullable=False,
        primary_key=primary_key,
        autoincrement=False,
    )


def _of_attempt() -> Column[int]:
    return Column("attempt", KEY, ForeignKey("attempts.id", ondelete="CASCADE"), nullable=False)


runs = Table(
    "runs",
    metadata,
    Column("run_id", String, primary_key=True),
    _bytes("spec"),
    _bytes("spec_hash"),
    _bytes("owner_key"),
    _bytes("signature"),
    _text("description"),
    _number("target_tokens"),
    _number("created_at_ms"),
)

# everybody who was ever heard of in a run, were it by others
peers = Table(
    "peers",
    metadata,
    Column("id", KEY, primary_key=True, autoincrement=False),
    _of_run(),
    _text("peer_id"),
    _measure("joined_at"),
    UniqueConstraint("run_id", "peer_id", name="peers_of_a_run"),
)

peer_states = Table(
    "peer_states",
    metadata,
    _of_peer(primary_key=True),
    _number("sequence"),
    _measure("received_at"),
    _text("phase"),
    _text("reason"),
    _number("round"),
    _number("tokens"),
    _measure("tokens_per_second"),
    Column("train_loss", Double),
    _text("name"),
    _text("version"),
    _bytes("journal"),
    _number("taken_row"),
    _text("processor"),
    _number("cores"),
    _number("memory_bytes"),
    _text("accelerator"),
    _text("system"),
    _number("upload"),
    _number("download"),
    _text("reach"),
    _measure("energy_joules"),
)

# one row for each attempt at a round, with what all who told of it told together
attempts = Table(
    "attempts",
    metadata,
    Column("id", KEY, primary_key=True, autoincrement=False),
    _of_run(),
    _number("round"),
    _bytes("attempt"),
    _measure("at"),
    _yes_no("committed"),
    _text("reason"),
    _number("members"),
    _number("run_tokens"),
    _measure("seconds"),
    _measure("round_seconds"),
    _number("finished_by"),
    _number("included"),
    _number("bytes_sent"),
    _measure("loss_sum"),
    _measure("loss_weight"),
    _number("digests"),
    UniqueConstraint("run_id", "round", "attempt", name="attempts_at_a_round"),
    Index("attempts_by_time", "run_id", "at"),
)

digests = Table(
    "digests",
    metadata,
    _of_attempt(),
    Column("number", SmallInteger, nullable=False),
    _bytes("digest"),
    PrimaryKeyConstraint("attempt", "number"),
    sqlite_with_rowid=False,
)

# that a peer has told of an attempt: what it tells again is no news
words = Table(
    "words",
    metadata,
    _of_attempt(),
    _of_peer(),
    _number("round"),
    _yes_no("committed"),
    PrimaryKeyConstraint("attempt", "peer"),
    Index("words_of_a_peer", "peer", "round"),
    sqlite_with_rowid=False,
)

receipts = Table(
    "receipts",
    metadata,
    _of_peer(),
    _number("round"),
    _of_attempt(),
    _measure("at"),
    _number("claimed_tokens"),
    _number("merged_tokens"),
    _yes_no("included"),
    _yes_no("observed"),
    Column("witnesses", Integer, nullable=False),
    _text("reason"),
    PrimaryKeyConstraint("peer", "round"),
    Index("receipts_of_an_attempt", "attempt"),
    sqlite_with_rowid=False,
)


CREDITS = ("rounds", "missed", "claimed_tokens", "merged_tokens", "observed_tokens")


def _sums() -> list[Column[int]]:
    """Sums over receipts."""
    return [_number(name) for name in CREDITS]


# of each peer, over all receipts there ever were
totals = Table(
    "totals",
    metadata,
    _of_peer(primary_key=True),
    *_sums(),
    _number("missed_round"),
    _text("missed_reason"),
    _number("thinned_round"),
    _number("late"),
)

# the same by the hour or day in which they were made; days stay, hours are thinned
credited = Table(
    "credited",
    metadata,
    _of_peer(),
    Column("span", Integer, nullable=False),
    _number("start"),
    *_sums(),
    PrimaryKeyConstraint("peer", "span", "start"),
    Index("credited_by_time", "span", "start"),
    sqlite_with_rowid=False,
)

# what thinned attempts came to, by the hour or day
round_sums = Table(
    "round_sums",
    metadata,
    _of_run(),
    Column("span", Integer, nullable=False),
    _number("start"),
    _number("committed"),
    _number("void"),
    _number("disagreed"),
    _measure("seconds"),
    _measure("round_seconds"),
    _number("rounds_timed"),
    _number("bytes_sent"),
    _measure("loss_sum"),
    _measure("loss_weight"),
    _number("round"),
    _number("run_tokens"),
    PrimaryKeyConstraint("run_id", "span", "start"),
)

validations = Table(
    "validations",
    metadata,
    _of_run(),
    _number("round"),
    _number("peer"),
    _measure("at"),
    _number("run_tokens"),
    Column("loss", Double),
    PrimaryKeyConstraint("run_id", "round", "peer"),
)

# means over a minute, hour or day
samples = Table(
    "samples",
    metadata,
    _of_run(),
    Column("span", Integer, nullable=False),
    _number("start"),
    _number("looks"),
    _measure("peers_live"),
    _measure("tokens_per_second"),
    PrimaryKeyConstraint("run_id", "span", "start"),
)

speeds = Table(
    "speeds",
    metadata,
    _of_run(),
    Column("span", Integer, nullable=False),
    _number("start"),
    _number("peer"),
    _measure("tokens_per_second"),
    PrimaryKeyConstraint("run_id", "span", "start", "peer"),
    sqlite_with_rowid=False,
)

# of each run what its newest round said
coverage = Table(
    "coverage",
    metadata,
    _of_run(primary_key=True),
    _number("round"),
    _number("pass_chunks"),
    _number("passes"),
    _number("merged_once"),
    _number("merged_again"),
)

# what of a run is only in sums by now
thinned = Table(
    "thinned",
    metadata,
    _of_run(primary_key=True),
    _measure("attempts_before"),
    _measure("receipts_before"),
)

# the newest of each run; in them travels the charter
orders = Table("orders", metadata, _of_run(primary_key=True), _bytes("signed"))

invitations = Table(
    "invitations",
    metadata,
    _of_run(),
    _bytes("secret_hash"),
    Column("uses_left", BigInteger),
    _measure("expires_at"),
    _measure("created_at"),
    PrimaryKeyConstraint("run_id", "secret_hash"),
)

members = Table(
    "members",
    metadata,
    _of_run(),
    _text("peer_id"),
    Column("admitted_at", Double),
    Column("certified_until", Double),
    _bytes("invitation"),
    Column("banned_at", Double),
    _text("ban_reason"),
    PrimaryKeyConstraint("run_id", "peer_id"),
)

# a number is never given twice, not even after its event was forgotten
events = Table(
    "events",
    metadata,
    Column("number", KEY, primary_key=True),
    _of_run(),
    _measure("at"),
    _text("kind"),
    _text("text"),
    _text("peer_id"),
    Column("round", BigInteger),
    Index("events_of_a_run", "run_id", "number"),
    sqlite_autoincrement=True,
)
