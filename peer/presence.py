"""A peer's presence in the swarm: its own record kept fresh, the others' records read."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread

from peer.membership import RECORD_SECONDS, SwarmView, view_of
from peer.run_metadata import RunMetadata, save_metadata
from peer.status import Snapshot, peer_record
from peer.swarm.clock import CLOCK
from peer.swarm.interface import Network

log = logging.getLogger(__name__)

VIEW_SECONDS = 0.5
PUBLISH_SECONDS = 2.0
DHT_SECONDS = 8.0
"""A look-up or a publication that takes longer is given up, and tried again."""


class Presence:
    """Publishes, looks, and remembers where the others are."""

    def __init__(
        self,
        metadata: RunMetadata,
        folder: Path,
        snapshot: Callable[[], Snapshot],
        on_view: Callable[[SwarmView, float], None],
    ) -> None:
        self._metadata = metadata
        self._folder = folder
        self._snapshot = snapshot
        self._on_view = on_view
        self._kind = f"record:{metadata.spec.run_id}"
        self._changed = anyio.Event()
        self._sequence = 0
        self._remembered: tuple[str, ...] = ()

    def changed(self) -> None:
        """Publish soon: something in the record is news to the others."""
        self._changed.set()

    async def publish(self, network: Network) -> None:
        """Put this peer's record in the DHT, once."""
        self._sequence += 1
        record = peer_record(self._snapshot(), CLOCK.now(), self._sequence)
        await network.publish(self._kind, record.SerializeToString(), RECORD_SECONDS)

    async def keep_publishing(self, network: Network) -> None:
        """Publish every two seconds, and at once when something changed."""
        while True:
            self._changed = anyio.Event()
            try:
                with anyio.fail_after(DHT_SECONDS):
                    await self.publish(network)
            except Exception as error:  # hivemind names none; the next try is seconds away
                log.warning("cannot publish this peer's record: %r", error)
            with anyio.move_on_after(PUBLISH_SECONDS):
                await self._changed.wait()

    async def keep_looking(self, network: Network) -> None:
        """Look twice a second who is there."""
        while True:
            try:
                with anyio.fail_after(DHT_SECONDS):
                    records = await network.lookup(self._kind)
            except Exception as error:  # hivemind names none; the next try is seconds away
                log.warning("cannot read the others' records: %r", error)
                records = {}
            wall = CLOCK.now()
            view = view_of(records, wall)
            self._on_view(view, wall)
            await self._remember(view, network.peer_id)
            await anyio.sleep(VIEW_SECONDS)

    async def _remember(self, view: SwarmView, own: str) -> None:
        """Keep the addresses of live peers, to join again without the coordinator."""
        live = tuple(it.addresses[0] for it in view.others(own) if it.addresses)
        if live == self._remembered:
            return
        self._remembered = live
        known = self._metadata.meeting(live)
        try:
            await anyio.to_thread.run_sync(save_metadata, self._folder, known)
        except OSError as error:
            log.warning("cannot remember the swarm: %s", error)
