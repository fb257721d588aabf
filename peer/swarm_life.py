"""A peer's life in the swarm: it joins, joins again when the network breaks, leads, catches up."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Awaitable, Callable
from random import Random

import anyio
from anyio.abc import TaskGroup

from peer import events
from peer.averaging.history import History
from peer.averaging.leader import lead
from peer.averaging.links import NO_LIMIT, UNKNOWN, Link, sustained_round
from peer.averaging.malformed import Malformed
from peer.averaging.rounds import Rounds
from peer.catching_up import Apart, catch_up, take_in
from peer.fetching import Fetcher
from peer.halves import head
from peer.members import Members
from peer.membership import MAX_RECENT, PeerFacts, Position, SwarmView, at_work
from peer.orders_exchange import OrdersExchange
from peer.presence import Presence
from peer.reach_watch import ReachWatch
from peer.swarm.dial_back import DialBack
from peer.swarm.interface import Network, Refused, Unreachable
from peer.swarm.reach import Reach
from peer.transfer.donor import Donor
from peer.transfer.pace import serving_rate
from peer.work import LocalWork
from swarmpb.spec import RunSpec

log = logging.getLogger(__name__)

KNOWN_ANCESTORS = 1024
"""By so many states this peer tells a fork from a head that it is ahead of."""


class SwarmLife:
    """`run` it as long as the peer lives; the rest carries out what the machine decides."""

    def __init__(
        self,
        spec: RunSpec,
        work: LocalWork,
        connect: Callable[[bool], Awaitable[Network]],
        post: Callable[[events.Event], None],
        members: Members,
        reach: ReachWatch,
    ) -> None:
        """connect: joins; told whether this peer was in the swarm before."""
        self.history = History(spec.round.codec)
        self.network: Network | None = None
        self._reach = reach
        self._dial_back = DialBack()
        self._spec = spec
        self._work = work
        self._connect = connect
        self._post = post
        self._orders = OrdersExchange(members, Random())
        self._rounds: Rounds | None = None
        self._donor = Donor(work.states, self._serving_rate)
        self.history.needed_since = self._donor.needed_since
        self._fetcher = Fetcher(self.history.lineage, self._head, self._tell)
        self._others: tuple[PeerFacts, ...] = ()
        self.tasks: TaskGroup | None = None
        """What talks to the swarm runs here; None while there is no network."""

    async def run(self, presence: Presence) -> None:
        """Join, and join again should the network break; `UserError` if there is no way in."""
        while True:
            network = self.network = await self._connect(self.network is not None)
            try:
                async with anyio.create_task_group() as tasks:
                    rounds = self._rounds = Rounds(
                        network,
                        self._spec,
                        self._work,
                        tasks,
                        time.monotonic,
                        Random(),
                        history=self.history,
                        client_mode=lambda: self._reach.reach.client_mode,
                    )
                    await network.serve(
                        rounds.handlers()
                        | self._donor.handlers()
                        | self._orders.handlers()
                        | self._dial_back.handlers()
                    )
                    self.tasks = tasks
                    tasks.start_soon(self._orders.keep_asking, network)
                    self._post(events.SwarmJoined())
                    tasks.start_soon(self._reach.watch, network, Random())
                    why = await presence.stay(network)
                    self.tasks = None
                    await network.close()  # first, as what it serves starts tasks here
                    tasks.cancel_scope.cancel()
            finally:
                self.tasks = None
            rounds.leave()
            self._post(events.SwarmLost(why))

    @property
    def link(self) -> Link:
        return self._rounds.link if self._rounds is not None else UNKNOWN

    @property
    def reach(self) -> Reach:
        """How others get through to this peer."""
        return self._reach.reach

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where others may dial this peer."""
        if self.network is None:
            return ()
        return self._reach.announced(self.network.addresses, self.network.peer_id)

    def _head(self) -> Position | None:
        return head(self._others)

    def _tell(self, words: str) -> None:
        self._post(events.SyncProgress(words))

    def _serving_rate(self) -> float:
        """Bytes per second for those who download this peer's state."""
        limited = self.history.links.user.allowance() != NO_LIMIT
        return serving_rate(self.link.upload, os.cpu_count() or 1, limited)

    @property
    def recent(self) -> tuple[bytes, ...]:
        """For this peer's record: digests of states that its own descends from."""
        return self._ancestors(MAX_RECENT)

    def _ancestors(self, most: int) -> tuple[bytes, ...]:
        if not self._work.has_state:
            return ()
        return self.history.lineage.recent(self._work.state.digest, most)

    def seen(self, view: SwarmView, own: str, wall: float) -> events.ViewSeen:
        """A view, with what this peer knows of itself."""
        self._others = view.others(own)
        self._reach.see(self._others)
        self._orders.see(view.orders_named())
        shortest = 0.0
        if self._work.has_state:
            links = [it.link for it in at_work(self._others)]
            parameters = self._work.state.parameters.size
            shortest = sustained_round(self._spec.round, parameters, [self.link, *links])
        return events.ViewSeen(
            view,
            wall,
            own_tokens=self._work.pending_tokens,
            sustained_round=shortest,
            trainer_trouble=self._work.trainer_trouble,
            giving=self._donor.busy,
            ancestors=self._ancestors(KNOWN_ANCESTORS),
        )

    def orders_changed(self) -> None:
        """Others may take part now than before."""
        if self.network is not None:
            self.network.review()

    def stood_still(self) -> None:
        """This process has: what was under way went on without it."""
        if self._rounds is not None:
            self._rounds.stood_still()

    # ---- effects -----------------------------------------------------------------------

    async def lead(self, effect: events.Lead) -> None:
        """Lead an attempt at the next round."""
        own = self.network.peer_id if self.network is not None else ""
        try:
            await lead(self._joined(), effect.others)
        except (Refused, Unreachable, Malformed) as error:
            self._post(events.AttemptEnded(own, False, str(error)))

    async def synchronise(self, effect: events.Synchronise) -> None:
        """Get a state from other peers."""
        at = effect.position
        try:
            await catch_up(self._joined(), self._work, self._fetcher, effect)
        except Apart as apart:
            log.warning("%s, now at round %d and here at %d",
                        apart, at.round, self._work.state.round)  # fmt: skip
            self._post(events.Forked(at, apart.common.round))
        except (Unreachable, Refused) as error:
            self._post(events.SyncFailed(at, str(error)))
        else:
            self._post(events.Synchronised())

    async def take_in(self, effect: events.TakeIn) -> None:
        """Get the other half's state, to be merged in the next round."""
        try:
            await take_in(self._joined(), self._work, effect)
        except (Unreachable, Refused) as error:
            self._post(events.TakeInFailed(effect.position, str(error)))

    def _joined(self) -> Rounds:
        if self._rounds is None or self.tasks is None:
            raise Refused("the swarm is being joined again")
        return self._rounds
