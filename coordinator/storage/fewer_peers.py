"""Peers that came, were forgotten and left only sums: the sums of the oldest become one peer's."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import delete, exists, func, select

from coordinator.storage import schema
from coordinator.storage.database import Database
from coordinator.storage.rows import PeerRows
from coordinator.storage.upsert import adding

FORGOTTEN = ""
"""The peer id of the one that stands for them all."""
STEP_PEERS = 50


class FewerPeers:
    """Bounds how many peers a run was ever heard of from."""

    def __init__(self, database: Database, peers: PeerRows) -> None:
        self._database = database
        self._peers = peers

    def steps(self, run_id: str, keep: int) -> Iterator[None]:
        """Each step is one transaction. Peers with a state, a word or a receipt stay."""
        table = schema.peers
        with self._database.transaction() as connection:
            there_are = connection.scalar(
                select(func.count()).select_from(table).where(table.c.run_id == run_id)
            )
        surplus = (there_are or 0) - keep
        while surplus > 0:
            gone = self._sum_up_some(run_id, min(STEP_PEERS, surplus))
            if not gone:
                return
            surplus -= gone
            yield

    def _sum_up_some(self, run_id: str, most: int) -> int:
        table = schema.peers
        in_use = [
            exists().where(other.c.peer == table.c.id)
            for other in (schema.peer_states, schema.words, schema.receipts)
        ]
        with self._database.transaction() as connection:
            gone = connection.execute(
                select(table.c.id, table.c.joined_at)
                .where(table.c.run_id == run_id, table.c.peer_id != FORGOTTEN, ~in_use[0])
                .where(~in_use[1], ~in_use[2])
                .order_by(table.c.id)
                .limit(most)
            ).all()
            if not gone:
                return 0
            first = {FORGOTTEN: min(row.joined_at for row in gone)}
            one = self._peers.find_or_add(connection, run_id, first)[FORGOTTEN].peer
            keys = [row.id for row in gone]
            for sums, plain in ((schema.totals, {"missed_reason": ""}), (schema.credited, {})):
                rows = connection.execute(select(sums).where(sums.c.peer.in_(keys))).mappings()
                added = [{**row, "peer": one, **plain} for row in rows]
                for row in added:
                    row.update({it: 0 for it in ("missed_round", "thinned_round") if it in row})
                names = [*schema.CREDITS, *(["late"] if sums is schema.totals else [])]
                if added:
                    connection.execute(adding(connection, sums, *names), added)
                connection.execute(delete(sums).where(sums.c.peer.in_(keys)))
            connection.execute(delete(table).where(table.c.id.in_(keys)))
            self._peers.forget()
        return len(gone)
