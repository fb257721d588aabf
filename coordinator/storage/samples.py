"""How a run stood, looked at again and again: means over minutes, hours and days."""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.history import DAY, HOUR
from coordinator.storage import schema
from coordinator.storage.database import Database
from coordinator.storage.rows import PeerRows
from coordinator.storage.upsert import adding

MINUTE = 60
SPANS = (MINUTE, HOUR, DAY)


class SampleStore:
    """The samples of all runs. Each look counts in its minute, hour and day at once."""

    def __init__(self, database: Database, peers: PeerRows) -> None:
        self._database = database
        self._peers = peers

    def add(
        self,
        run_id: str,
        at: float,
        peers_live: int,
        tokens_per_second: float,
        fastest: Sequence[tuple[str, float]] = (),
    ) -> None:
        """One look at a run at `at` (unix seconds), once a minute.

        fastest: peer ids, with their tokens per second.
        """
        spans = [{"run_id": run_id, "span": it, "start": int(at) // it * it} for it in SPANS]
        with self._database.transaction() as connection:
            look = {"looks": 1, "peers_live": peers_live, "tokens_per_second": tokens_per_second}
            connection.execute(
                adding(connection, schema.samples, *look), [{**span, **look} for span in spans]
            )
            known = self._peers.find(connection, run_id, [peer_id for peer_id, _ in fastest])
            speeds = [
                {**span, "peer": known[peer_id].peer, "tokens_per_second": speed}
                for span in spans
                for peer_id, speed in fastest
                if peer_id in known
            ]
            if speeds:
                connection.execute(adding(connection, schema.speeds, "tokens_per_second"), speeds)
