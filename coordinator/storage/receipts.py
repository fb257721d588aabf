"""Receipts, and the sums of them that stay when they are thinned.

Every change of a receipt changes the sums in the same transaction: a peer's total, and those of
the hour and of the day in which the receipt was made. So thinning takes nothing away from a sum.
A receipt for a round of which the peer's receipts have been thinned might be in the sums already:
it changes nothing, and is counted as late. One for an attempt that is not here any more, of a peer
whose own receipts for such rounds never were here, goes to the sums at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Select, select

from coordinator.domain import Receipt
from coordinator.history import DAY, HOUR
from coordinator.reports.receipts import NOT_MISSED, Change, Credit
from coordinator.storage import schema
from coordinator.storage.database import Database
from coordinator.storage.rows import SUMS, AttemptRow, AttemptRows, PeerRow, PeerRows, pieces
from coordinator.storage.thinned import Thinned
from coordinator.storage.upsert import adding, replacing

_Sums = dict[tuple[int, int, int], list[int]]
"""By peer, span and start."""


class ReceiptStore:
    """One receipt for each (peer, round), as far as they are not thinned."""

    def __init__(
        self, database: Database, peers: PeerRows, attempts: AttemptRows, thinned: Thinned
    ) -> None:
        self._database = database
        self._peers = peers
        self._attempts = attempts
        self._thinned = thinned

    def keep(self, run_id: str, receipts: Sequence[Receipt]) -> list[Change]:
        """Put them in place of what was kept of the same peers and rounds; the last one stands.

        Returns what that changed: all but those that came too late.
        """
        if not receipts:
            return []
        with self._database.transaction() as connection:
            heard = {it.peer_id: it.at for it in receipts}
            peers = self._peers.find_or_add(connection, run_id, heard)
            attempts = self._attempts.find(
                connection, {(run_id, it.round, it.attempt) for it in receipts}
            )
            before = self._before(connection, peers, receipts)
            receipts_before = self._thinned.of(connection, run_id).receipts_before
            changes: list[Change] = []
            rows: dict[tuple[int, int], dict[str, Any]] = {}
            for receipt in {(it.peer_id, it.round): it for it in receipts}.values():
                peer, known = peers[receipt.peer_id], before.get((receipt.peer_id, receipt.round))
                if known is None and receipt.round <= peer.thinned_round:
                    peer.late += 1
                    continue
                changes.append(Change(known, receipt))
                attempt = attempts.get((run_id, receipt.round, receipt.attempt))
                if attempt is None or attempt.at < receipts_before:
                    peer.thinned_round = max(peer.thinned_round, receipt.round)
                else:
                    rows[peer.peer, receipt.round] = _row(peer, attempt, receipt)
            if rows:
                connection.execute(replacing(connection, schema.receipts), list(rows.values()))
            self._sum_up(connection, peers, changes)
        return changes

    def of_round(self, run_id: str, round_: int) -> list[Receipt]:
        """All receipts for one round."""
        table = schema.attempts
        query = receipts_query().where(table.c.run_id == run_id, table.c.round == round_)
        with self._database.transaction() as connection:
            return [Receipt(**row) for row in connection.execute(query).mappings()]

    def credits(self, run_id: str) -> dict[str, Credit]:
        """By peer, the sums of all its receipts."""
        table, peers = schema.totals, schema.peers
        query = select(peers.c.peer_id, table).join(peers, peers.c.id == table.c.peer)
        with self._database.transaction() as connection:
            return {
                row.peer_id: Credit(
                    tokens=row.merged_tokens,
                    observed_tokens=row.observed_tokens,
                    rounds=row.rounds,
                    missed=row.missed,
                    last_missed=(row.missed_round, row.missed_reason),
                )
                for row in connection.execute(query.where(peers.c.run_id == run_id))
            }

    def _before(
        self, connection: Connection, peers: dict[str, PeerRow], receipts: Sequence[Receipt]
    ) -> dict[tuple[str, int], Receipt]:
        """What is kept of the same peers and rounds."""
        table = schema.receipts
        rounds: dict[int, set[int]] = {}
        for receipt in receipts:
            rounds.setdefault(receipt.round, set()).add(peers[receipt.peer_id].peer)
        found = {}
        for round_, of_round in rounds.items():
            for some in pieces(of_round):
                query = receipts_query().where(table.c.round == round_, table.c.peer.in_(some))
                for row in connection.execute(query).mappings():
                    found[row["peer_id"], round_] = Receipt(**row)
        return found

    def _sum_up(
        self, connection: Connection, peers: dict[str, PeerRow], changes: Iterable[Change]
    ) -> None:
        sums: _Sums = {}
        for change in changes:
            peer = peers[change.after.peer_id]
            for receipt, sign in ((change.before, -1), (change.after, 1)):
                if receipt is not None:
                    _count(peer, receipt, sign, sums)
            if missed(change.after):
                if change.after.round >= peer.missed_round:
                    peer.missed_round, peer.missed_reason = change.after.round, change.after.reason
            elif change.after.round == peer.missed_round:
                peer.missed_round, peer.missed_reason = _last_missed(connection, peer)
        write_totals(connection, list(peers.values()))
        _add_to_sums(connection, sums)


def missed(receipt: Receipt) -> bool:
    """Whether its peer was a member of the round, and its work is not in."""
    return not receipt.included and receipt.reason not in NOT_MISSED


def counts(receipt: Receipt) -> tuple[int, int, int, int, int]:
    """What one receipt adds to `schema.CREDITS`."""
    return (
        int(receipt.included),
        int(missed(receipt)),
        receipt.claimed_tokens,
        receipt.merged_tokens,
        receipt.merged_tokens if receipt.observed else 0,
    )


def write_totals(connection: Connection, rows: Sequence[PeerRow]) -> None:
    """Put peers' totals in place of those on disk."""
    if rows:
        values = [{"peer": row.peer, **{it: getattr(row, it) for it in SUMS}} for row in rows]
        connection.execute(replacing(connection, schema.totals), values)


def receipts_query() -> Select[Any]:
    """The columns of a `Receipt`, from `receipts` joined with `attempts` and `peers`."""
    table, attempts, peers = schema.receipts, schema.attempts, schema.peers
    return (
        select(
            peers.c.peer_id,
            table.c.round,
            attempts.c.attempt,
            table.c.claimed_tokens,
            table.c.merged_tokens,
            table.c.included,
            table.c.reason,
            table.c.observed,
            table.c.witnesses,
            table.c.at,
        )
        .join(attempts, attempts.c.id == table.c.attempt)
        .join(peers, peers.c.id == table.c.peer)
    )


def _row(peer: PeerRow, attempt: AttemptRow, receipt: Receipt) -> dict[str, Any]:
    return {
        "peer": peer.peer,
        "round": receipt.round,
        "attempt": attempt.id,
        "at": receipt.at,
        "claimed_tokens": receipt.claimed_tokens,
        "merged_tokens": receipt.merged_tokens,
        "included": receipt.included,
        "observed": receipt.observed,
        "witnesses": receipt.witnesses,
        "reason": receipt.reason,
    }


def _count(peer: PeerRow, receipt: Receipt, sign: int, sums: _Sums) -> None:
    counted = [sign * value for value in counts(receipt)]
    for name, value in zip(schema.CREDITS, counted, strict=True):
        setattr(peer, name, getattr(peer, name) + value)
    for span in (HOUR, DAY):
        place = (peer.peer, span, int(receipt.at) // span * span)
        known = sums.setdefault(place, [0] * len(counted))
        sums[place] = [one + more for one, more in zip(known, counted, strict=True)]


def _last_missed(connection: Connection, peer: PeerRow) -> tuple[int, str]:
    """The newest that is kept; (0, ""): none, or only older ones."""
    table = schema.receipts
    query = (
        select(table.c.round, table.c.reason)
        .where(table.c.peer == peer.peer, ~table.c.included, table.c.reason.not_in(NOT_MISSED))
        .order_by(table.c.round.desc())
        .limit(1)
    )
    last = connection.execute(query).first()
    return (last.round, last.reason) if last else (0, "")


def _add_to_sums(connection: Connection, sums: _Sums) -> None:
    if not sums:
        return
    rows = [
        {"peer": peer, "span": span, "start": start, **dict(zip(schema.CREDITS, it, strict=True))}
        for (peer, span, start), it in sums.items()
    ]
    connection.execute(adding(connection, schema.credited, *schema.CREDITS), rows)
