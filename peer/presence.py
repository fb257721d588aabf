"""A peer's presence in the swarm: its own record kept fresh, the others' records read.

Whoever is known and not in view is dialled again, so that a network that was down heals.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import anyio.to_thread

from peer.acquaintances import CUT_OFF_SECONDS, Acquaintances
from peer.members import Members
from peer.membership import RECORD_SECONDS, SwarmView, view_of
from peer.notices import Notices
from peer.run_metadata import RunMetadata, save_metadata
from peer.status import Snapshot, peer_record
from peer.swarm.clock import CLOCK
from peer.swarm.interface import Network
from peer.swarm.reach import likeliest

log = logging.getLogger(__name__)

VIEW_SECONDS = 0.5
"""Between two looks at the others' records, when a round is near; each costs kilobytes a peer."""
PUBLISH_SECONDS = 2.0
MOST_TIMES_RARER = 8.0
"""Than that a peer looks whose user allows little data: as often as a record is to be renewed."""
_FAR_TIMES_RARER = 4.0
_LOOKS_TO_CUT = 10.0
DHT_SECONDS = 8.0
"""A look-up or a publication that takes longer is given up, and tried again."""
MEET_SECONDS = 0.5


class Presence:
    """Publishes, looks, and remembers where the others are."""

    def __init__(
        self,
        metadata: RunMetadata,
        folder: Path,
        snapshot: Callable[[], Snapshot],
        on_view: Callable[[SwarmView, float], None],
        notices: Notices,
        members: Members,
    ) -> None:
        self._metadata = metadata
        self._members = members
        self._folder = folder
        self._snapshot = snapshot
        self._on_view = on_view
        self._notices = notices
        self._acquaintances = Acquaintances(metadata.initial_peers)
        self._kind = f"record:{metadata.spec.run_id}"
        self._changed = anyio.Event()
        self.times_rarer: Callable[[], float] = lambda: 1.0
        """Than usual that this peer should look now."""
        self._sequence = 0
        self._remembered: tuple[str, ...] = ()

    def changed(self) -> None:
        """Publish soon: something in the record is news to the others."""
        self._changed.set()

    def stood_still(self, seconds: float) -> None:
        """All stood still for so long, and whoever was there may be gone."""
        self._notices.tell(f"this machine stood still for {seconds:.0f} s; catching up")
        self._acquaintances.hurry(time.monotonic())
        self.changed()

    async def stay(self, network: Network) -> str:
        """Be present in this network until it is of no use any more; why."""
        self._acquaintances.begin(network.peer_id, time.monotonic())
        why = ""

        async def wait(broken: Callable[[], Awaitable[str]]) -> None:
            nonlocal why
            why = await broken()
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.keep_publishing, network)
            tasks.start_soon(self.keep_looking, network)
            tasks.start_soon(wait, lambda: self.keep_meeting(network))
            tasks.start_soon(wait, lambda: self._wait_broken(network))
        return why

    async def _wait_broken(self, network: Network) -> str:
        why = await network.wait_broken()
        self._notices.trouble("network", f"joining the swarm again: {why}")
        return why

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
                text = f"cannot publish this peer's record: {error!r}"
                self._notices.trouble("publish", text)
            else:
                self._notices.over("publish", "this peer's record is published again")
            # half of what a record lives for: one may be lost
            with anyio.move_on_after(min(PUBLISH_SECONDS * self.times_rarer(), RECORD_SECONDS / 3)):
                await self._changed.wait()

    async def keep_looking(self, network: Network) -> None:
        """Look twice a second who is there."""
        while True:
            try:
                with anyio.fail_after(DHT_SECONDS):
                    records = await network.lookup(self._kind)
            except Exception as error:  # hivemind names none; the next try is seconds away
                self._notices.trouble("look", f"cannot read the others' records: {error!r}")
                records = {}
            else:
                self._notices.over("look", "the others' records are read again")
            wall = CLOCK.now()
            view = view_of(records, wall, self._members.admits)
            self._on_view(view, wall)
            others = view.others(network.peer_id)
            own = network.addresses
            live = {it.peer_id: likeliest(it.addresses, own) for it in others if it.addresses}
            self._acquaintances.see(live, time.monotonic())
            await self._remember(tuple(live.values()))
            await anyio.sleep(VIEW_SECONDS * self.times_rarer())

    async def keep_meeting(self, network: Network) -> str:
        """Dial known peers that are not in view; returns when all have long been out of reach."""
        while True:
            due = self._acquaintances.due(time.monotonic())
            missing = [it for it in due if not self._members.bans(it.rpartition("/")[2])]
            if missing:
                answered = await network.reconnect(missing)
                self._acquaintances.answered(answered, time.monotonic())
                # only now: time that this process stood still is nobody's silence
                if self._acquaintances.cut_off(time.monotonic()):
                    break
            if self._acquaintances.in_touch:
                self._notices.over("cut off", "other peers answer again")
            await anyio.sleep(MEET_SECONDS)
        why = f"no known peer has answered for {CUT_OFF_SECONDS:.0f} s"
        self._notices.trouble("cut off", f"{why}: trying on; is this machine online?")
        return why

    async def _remember(self, live: tuple[str, ...]) -> None:
        """Keep the addresses of live peers, to join again without the coordinator."""
        if live == self._remembered:
            return
        known = self._metadata.meeting(live)
        try:
            await anyio.to_thread.run_sync(save_metadata, self._folder, known)
        except OSError as error:
            self._notices.trouble("remember", f"cannot remember the swarm's addresses: {error}")
        else:
            self._remembered = live
            self._notices.over("remember", "the swarm's addresses are kept again")


def times_rarer(seconds_to_cut: float, by_limits: float) -> float:
    """How many times rarer than every half second to look: while the next round is far, and where
    a user's limits leave little for it.

    seconds_to_cut: NaN where no round is in sight; somebody may be about to come then.
    """
    far = 1.0
    if not math.isnan(seconds_to_cut):
        far = min(seconds_to_cut / _LOOKS_TO_CUT / VIEW_SECONDS, _FAR_TIMES_RARER)
    return min(max(far, by_limits, 1.0), MOST_TIMES_RARER)
