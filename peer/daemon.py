"""The peer daemon: turns what happens into events, and carries out the machine's effects.

All decisions are in `machine.py`. One event loop; the trainer and p2pd are child processes that
die with this one, whatever kills it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
from anyio.abc import TaskGroup

from peer import events, machine
from peer.averaging.attempt import Outcome
from peer.averaging.state import GlobalState
from peer.beginning import Beginning
from peer.checkpoint_keeper import Checkpoints, FoundCheckpoints
from peer.condition import Peer, for_good, stop_tokens
from peer.evaluator import Evaluator, coverage_told
from peer.events import Phase
from peer.hardware import Machine
from peer.manifests_told import rosters_of
from peer.members import Members
from peer.membership import PeerFacts, Position, SwarmView
from peer.notices import Notices
from peer.presence import Presence, times_rarer
from peer.reach_watch import ReachWatch
from peer.reporter import Reporter
from peer.resting.rest import Rest
from peer.round_ahead import OwnWork, RoundAhead, round_ahead
from peer.round_reports import RoundReports
from peer.run_metadata import RunMetadata
from peer.settings import Settings
from peer.standstill import watch_standstill
from peer.status import Snapshot, progress_report
from peer.supervisor import TrainerSupervisor
from peer.swarm.clock import CLOCK
from peer.swarm.interface import Network
from peer.swarm_life import SwarmLife
from peer.work import Callbacks, LocalWork
from swarmpb.exits import UserError

log = logging.getLogger(__name__)

Action = Callable[..., Coroutine[Any, Any, None]]

FINISH_ROUNDS = 2.0
"""A peer that is to finish waits so many of the longest rounds for one that merges its work."""
FAREWELL_SECONDS = 1.5
"""Each word of goodbye may take so long."""


class Daemon:
    """One peer of one run, from start to stop. `run` it once."""

    def __init__(
        self,
        settings: Settings,
        metadata: RunMetadata,
        members: Members,
        reporter: Reporter,
        found: FoundCheckpoints,
        connect: Callable[[bool], Awaitable[Network]],
        notices: Notices,
    ) -> None:
        spec = metadata.spec
        self.work = LocalWork(
            members.own,
            Callbacks(
                self._began, self._adopted, self._concluded,
                self._fell_behind, self._dropped, self._recalled,
            ),
        )  # fmt: skip
        self.reporter = reporter
        reporter.snapshot = lambda: progress_report(self.snapshot())
        reporter.rosters = lambda attempts: rosters_of(self._swarm.history, attempts)
        self.limits = settings.limits
        self.energy = settings.energy
        self.traffic = settings.traffic
        self._settings = settings
        self._members = members
        self._spec = spec
        reach = ReachWatch(metadata.initial_peers, notices)
        self._swarm = SwarmLife(spec, self.work, connect, self._post, members, reach)
        self._swarm.history.links.user = settings.traffic
        self._trainers = TrainerSupervisor(
            spec.canonical(), settings.trainer, settings.resources, self.work, self._post
        )
        self._evaluator = Evaluator(self.work, reporter)
        self._checkpoints = Checkpoints(
            found, self.work, self._swarm.history, notices, settings.resources.disk
        )
        self._beginning = Beginning(
            self.work, self._swarm.history, self._checkpoints, self._evaluator
        )
        self._presence = Presence(
            metadata, settings.folder, self.snapshot, self._on_view, notices, members
        )
        self._presence.times_rarer = lambda: times_rarer(
            self.outlook().seconds, settings.traffic.times_rarer()
        )
        self._peer = Peer(
            peer_id=members.own,
            spec=spec,
            invitation=settings.invitation,
            checkpoint=_position(self._checkpoints.state) if self._checkpoints.state else None,
            known_round=metadata.known_round,
            known_tokens=metadata.known_tokens,
            course=members.course,
        )
        self._seen: events.ViewSeen | None = None
        self._machine = Machine()
        self._rounds = RoundReports(reporter)
        self._stop: events.Stop | None = None
        self._stopping = anyio.Event()
        self._tasks: TaskGroup | None = None
        """All that this peer does; None when it has stopped, and only says goodbye."""

    # ---- life --------------------------------------------------------------------------

    async def run(self) -> events.Stop:
        """Take part until the run ends or somebody stops this peer; why, and the exit code."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            self._members.on_change.append(self._orders_changed)
            self._orders_changed()
            tasks.start_soon(self._trainers.run_one)
            tasks.start_soon(self._stay_in_swarm)
            tasks.start_soon(self.reporter.run)
            tasks.start_soon(self._checkpoints.keep)
            tasks.start_soon(self._settings.resources.keep)
            tasks.start_soon(self.energy.keep)
            tasks.start_soon(watch_standstill, self._swarm.stood_still, self._presence.stood_still)
            await self._stopping.wait()
            self.work.leaving = True  # nobody's round shall begin with this peer
            async with anyio.create_task_group() as last:
                last.start_soon(self._checkpoints.save)  # while there is a trainer
                last.start_soon(self._say_farewell)
            tasks.cancel_scope.cancel()
        self._tasks = None
        if (network := self._swarm.network) is not None:
            with anyio.CancelScope(shield=True):
                await network.close()
        assert self._stop is not None, "set before the event"  # noqa: S101  an invariant
        return self._stop

    def leave(self) -> None:
        """Leave the swarm, after the round under way."""
        self.work.leaving = True
        self._post(events.LeaveAsked())

    def rest(self, rest: Rest) -> None:
        """Leave the swarm for now, after the round under way."""
        self.work.leaving = True
        self._start(self._trainers.train, False)
        self._post(events.LeaveAsked(rest.reason, rest=True))

    def finish(self, words: str, within: float = 0.0) -> str:
        """Leave the swarm after a round that merged this peer's work; the reason it gives now.

        words: for its user; within: seconds, to be gone by then after as many rounds as fit.
        """
        longest = self._spec.round.max_seconds + self._spec.round.exchange_seconds
        latest = time.monotonic() + (within or FINISH_ROUNDS * longest)
        self._post(events.FinishAsked(words, latest, as_late_as_possible=within > 0))
        return self._peer.reason

    def stop_now(self, stop: events.Stop) -> events.Stop:
        """End without waiting for anybody; the first reason counts, which is returned."""
        self._stop = self._stop or replace(stop, rest=stop.rest and not for_good(self._peer))
        self._stopping.set()
        return self._stop

    async def _say_farewell(self) -> None:
        with anyio.move_on_after(FAREWELL_SECONDS):
            await self.reporter.send()
        if (network := self._swarm.network) is not None:
            with anyio.move_on_after(FAREWELL_SECONDS):
                await self._presence.publish(network)

    # ---- events and effects ------------------------------------------------------------

    def _post(self, event: events.Event) -> None:
        before = (self._peer.phase, self._peer.position, self.work.yields)
        self._peer, effects = machine.step(self._peer, event, time.monotonic())
        self.work.yields = self._peer.yields_since is not None
        self.work.paused = self._peer.course.paused
        if (self._peer.phase, self._peer.position, self.work.yields) != before:
            self._presence.changed()
        for effect in effects:
            self._carry_out(effect)

    def _carry_out(self, effect: events.Effect) -> None:
        swarm, start = self._swarm, self._start
        # what talks to the swarm ends with this network, should it break
        in_swarm = partial(start, within=swarm.tasks)
        if isinstance(effect, events.Lead):
            in_swarm(swarm.lead, effect)
        elif isinstance(effect, events.Synchronise):
            in_swarm(swarm.synchronise, effect)
        elif isinstance(effect, events.TakeIn):
            in_swarm(swarm.take_in, effect)
        elif isinstance(effect, events.Stop):
            self.stop_now(effect)
        elif isinstance(effect, events.Train):
            start(self._trainers.train, effect.on)
        elif isinstance(effect, events.RestartTrainer):
            start(self._trainers.run_one)
        elif isinstance(effect, events.KeepCheckpoint):
            start(self._checkpoints.save)
        elif isinstance(effect, events.WrapUp):
            start(self._wrap_up)
        elif isinstance(effect, events.BeginFromSeed):
            start(self._beginning.from_seed)
        else:
            start(self._beginning.from_checkpoint)

    def _start(self, action: Action, *about: Any, within: TaskGroup | None = None) -> None:
        # who says goodbye still hears news, the coordinator's last orders among them
        if (tasks := within or self._tasks) is not None:
            tasks.start_soon(action, *about)

    # ---- the swarm ---------------------------------------------------------------------

    async def _stay_in_swarm(self) -> None:
        try:
            await self._swarm.run(self._presence)
        except UserError as error:
            self.stop_now(events.Stop(error.code, str(error)))

    def _on_view(self, view: SwarmView, wall: float) -> None:
        seen = self._seen = self._swarm.seen(view, self._peer.peer_id, wall)
        self._post(replace(seen, model_wanted=self.reporter.model_wanted))

    def _orders_changed(self) -> None:
        course = self._members.course
        self._swarm.orders_changed()
        self._presence.changed()
        self._start(self._trainers.schedule, course.stop_tokens, course.cooldown_tokens)
        self._post(events.OrdersGiven(course))

    # ---- the state ---------------------------------------------------------------------

    async def _wrap_up(self) -> None:
        await self._evaluator.wrap_up(self._settings.export)
        await self.reporter.send()
        self._post(events.WrappedUp())

    # ---- what rounds tell --------------------------------------------------------------

    def _began(self, leader: str) -> None:
        self._post(events.AttemptBegan(leader))

    def _adopted(self, state: GlobalState, outcome: Outcome | None) -> None:
        self._rounds.adopted(state, outcome)
        if outcome is not None:
            self._ended(outcome)
            # the members take turns
            if outcome.member_index == state.round % outcome.members:
                self._start(self._evaluator.evaluate, state)
            if self._checkpoints.none_yet:
                # not in half a minute: a run must not hang on nobody's loss
                self._start(self._checkpoints.save)
        merged = outcome is not None and outcome.merged
        self._post(events.StateAdopted(_position(state), state.tokens, merged))

    def _concluded(self, outcome: Outcome) -> None:
        log.info("round %d is void: %s", outcome.round, outcome.reason)
        self._rounds.void(outcome, self.work.state)
        self._ended(outcome)

    def _recalled(self, outcome: Outcome) -> None:
        self._rounds.recalled(outcome, self.work.state)

    def _ended(self, outcome: Outcome) -> None:
        self._post(events.AttemptEnded(outcome.leader, outcome.committed, outcome.reason))

    def _fell_behind(self, reason: str) -> None:
        log.warning("%s", reason)
        self._post(events.FellBehind(reason))

    def _dropped(self, state: GlobalState, reason: str) -> None:
        log.warning("the downloaded state of round %d is of no use: %s", state.round, reason)
        self._post(events.StateDropped(_position(state), reason))

    # ---- status ------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """This moment, for reports and status."""
        speed = self._trainers.speed
        return Snapshot(
            run_id=self._spec.run_id,
            peer_id=self._peer.peer_id,
            name=self._settings.name,
            phase=Phase.STOPPED if self._stopping.is_set() else self._peer.phase,
            reason=self._peer.reason,
            rests=self._peer.leaving is not None and self._peer.leaving.rest,
            state=self.work.state if self.work.has_state else None,
            tokens=self.work.merged_tokens,
            pending_tokens=self.work.pending_tokens,
            tokens_per_second=speed.tokens_per_second(time.monotonic()),
            train_loss=speed.loss(),
            inner_steps=self.work.inner_steps,
            peers=len(self._others()) + 1,
            target_tokens=stop_tokens(self._peer),
            addresses=self._swarm.addresses,
            link=self._swarm.link,
            reach=self._swarm.reach,
            hardware=self._machine.described(self.work.trainer),
            round_seconds=list(self._rounds.durations),
            coverage=coverage_told(self.work),
            recent=self._swarm.recent,
            resumed=self._peer.resumed,
            yields=self._peer.yields_since is not None,
            orders=self._members.rank,
            energy_joules=self.energy.told_joules,
            certificate=self._members.credentials(),
        )

    def _others(self) -> tuple[PeerFacts, ...]:
        return self._seen.view.others(self._peer.peer_id) if self._seen is not None else ()

    def outlook(self) -> RoundAhead:
        """When the next round is due, as far as this peer can tell."""
        now = time.monotonic()
        own = OwnWork(self.work.pending_tokens, self._trainers.speed.tokens_per_second(now))
        return round_ahead(self._peer, self._seen, own, now, CLOCK.now())

    def losses(self) -> list[tuple[int, float]]:
        """(Tokens of the run, training loss) since this peer started, the oldest first."""
        return self._trainers.losses.points()

    @property
    def checkpoint_seconds(self) -> float:
        """Since the newest checkpoint was written; NaN without one."""
        return self._checkpoints.seconds_old


def _position(state: GlobalState) -> Position:
    return Position(state.round, state.digest)
