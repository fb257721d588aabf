"""The peer daemon: turns what happens into events, and carries out the machine's effects.

All decisions are in `machine.py`. One event loop; the trainer and p2pd are child processes that
die with this one, whatever kills it.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from peer import events, machine, membership
from peer.averaging.attempt import Outcome
from peer.averaging.leader import lead
from peer.averaging.roster import Malformed
from peer.averaging.rounds import Rounds
from peer.averaging.state import GlobalState
from peer.checkpoint import save_state
from peer.coordinator_client import CoordinatorClient, Reporter
from peer.events import Phase
from peer.membership import Position, SwarmView
from peer.run_metadata import RunMetadata, save_metadata
from peer.status import (
    KEPT_DURATIONS,
    Snapshot,
    Speedometer,
    peer_record,
    progress_report,
    round_outcome,
)
from peer.swarm.interface import Network, Refused, Unreachable, short
from peer.training.client import Trainer
from peer.training.death import TrainerDied
from peer.training.messages import Notice, Progress
from peer.training.options import TrainerOptions
from peer.transfer import Donor, download
from peer.work import Callbacks, LocalWork
from swarmpb.exits import UserError
from swarmpb.signing import PeerIdentity
from swarmpb.v1 import coordinator_pb2

log = logging.getLogger(__name__)

VIEW_SECONDS = 0.5
RECORD_SECONDS = 2.0
CHECKPOINT_SECONDS = 30.0
FAREWELL_SECONDS = 1.5
"""Each word of goodbye may take so long."""


@dataclass(frozen=True)
class Settings:
    """What this machine's user and command line set."""

    folder: Path
    """State folder of this run on this machine."""
    name: str
    trainer: TrainerOptions
    invitation: str
    """The command that another volunteer would type."""
    export: Path | None = None
    """Where to write the model when the run reaches its target."""


class Daemon:
    """One peer of one run, from start to stop. `run` it once."""

    def __init__(
        self,
        settings: Settings,
        metadata: RunMetadata,
        identity: PeerIdentity,
        coordinator: CoordinatorClient,
        checkpoint: GlobalState | None,
        connect: Callable[[RunMetadata], Awaitable[Network]],
    ) -> None:
        self.settings = settings
        self.metadata = metadata
        self.spec = metadata.spec
        self.peer_id = identity.peer_id
        self.reporter = Reporter(coordinator, identity, lambda: progress_report(self.snapshot()))
        self.work = LocalWork(
            Callbacks(self._began, self._adopted, self._concluded, self._fell_behind)
        )
        self.view = SwarmView()
        self.exit = events.Stop(1, "the daemon ended without a reason")
        self.trainer_options = settings.trainer
        self._checkpoint = checkpoint
        self._connect = connect
        self._peer = machine.Peer(
            peer_id=self.peer_id,
            spec=self.spec,
            invitation=settings.invitation,
            checkpoint=_position(checkpoint) if checkpoint else None,
            known_round=metadata.known_round,
        )
        self._speed = Speedometer()
        self._round_seconds: deque[float] = deque(maxlen=KEPT_DURATIONS)
        self._sequence = 0
        self._changed = anyio.Event()
        self._stopping = anyio.Event()
        self._saved_round = -1
        self._tasks: TaskGroup
        self._network: Network | None = None
        self._rounds: Rounds

    # ---- life --------------------------------------------------------------------------

    async def run(self) -> events.Stop:
        """Take part until the run ends or somebody stops this peer; why, and the exit code."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            tasks.start_soon(self._start_trainer)
            tasks.start_soon(self._join_swarm)
            tasks.start_soon(self.reporter.run)
            tasks.start_soon(self._keep_checkpoints)
            await self._stopping.wait()
            tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await self._say_farewell()
        return self.exit

    def leave(self) -> None:
        """Ctrl-C or SIGTERM: leave the swarm, after the round under way."""
        self.work.leaving = True
        self._post(events.LeaveAsked())

    def stop_now(self, stop: events.Stop) -> None:
        """End without waiting for anybody."""
        self.exit = stop
        self._stopping.set()

    async def _say_farewell(self) -> None:
        trainer = self.work.trainer
        if trainer is not None:
            await trainer.stop()
        with anyio.move_on_after(FAREWELL_SECONDS):
            await self._publish()
        with anyio.move_on_after(FAREWELL_SECONDS):
            await self.reporter.send()
        await self._save()
        if self._network is not None:
            await self._network.close()

    # ---- events and effects ------------------------------------------------------------

    def _post(self, event: events.Event) -> None:
        before = (self._peer.phase, self._peer.position)
        self._peer, effects = machine.step(self._peer, event, time.monotonic())
        if (self._peer.phase, self._peer.position) != before:
            self._changed.set()
        for effect in effects:
            self._carry_out(effect)

    def _carry_out(self, effect: events.Effect) -> None:
        if isinstance(effect, events.Stop):
            self.stop_now(effect)
        elif isinstance(effect, events.Lead):
            self._tasks.start_soon(self._lead, effect)
        elif isinstance(effect, events.Synchronise):
            self._tasks.start_soon(self._synchronise, effect)
        elif isinstance(effect, events.Train):
            self._tasks.start_soon(self._train, effect.on)
        elif isinstance(effect, events.RestartTrainer):
            self._tasks.start_soon(self._restart_trainer, effect.smaller)
        elif isinstance(effect, events.WrapUp):
            self._tasks.start_soon(self._wrap_up)
        elif isinstance(effect, events.BeginFromSeed):
            self._tasks.start_soon(self._begin_from_seed)
        else:
            self._tasks.start_soon(self._resume_checkpoint)

    # ---- the trainer -------------------------------------------------------------------

    async def _start_trainer(self) -> None:
        self._speed.reset()
        trainer = await Trainer.start(self.spec.canonical(), self.trainer_options, self._on_trainer)
        try:
            await trainer.ready()
            await self.work.attach(trainer)
            self._post(events.TrainerReady())
            end = await trainer.wait_dead()
        except TrainerDied as error:
            end = error.death
        finally:
            with anyio.CancelScope(shield=True):
                await trainer.stop()
        self.work.detach()
        log.debug("trainer: %s; its last words: %s", end.reason, end.stderr)
        self._post(events.TrainerLost(end.cause, end.reason))

    async def _restart_trainer(self, smaller: bool) -> None:
        if smaller:
            options = self.trainer_options
            batch = options.micro_batch or self.spec.inner.batch_size
            self.trainer_options = options.with_micro_batch(max(1, batch // 2))
            log.warning("training with micro-batches of %d", self.trainer_options.micro_batch)
        await self._start_trainer()

    def _on_trainer(self, event: Progress | Notice) -> None:
        if isinstance(event, Notice):
            log.warning("%s", event.text)
        else:
            self._speed.add(event, time.monotonic())

    async def _train(self, on: bool) -> None:
        trainer = self.work.trainer
        if trainer is not None:
            try:
                await trainer.train(on)
            except TrainerDied as error:
                log.debug("no trainer to tell: %s", error)  # its death is told by its own event

    # ---- the swarm ---------------------------------------------------------------------

    async def _join_swarm(self) -> None:
        try:
            network = self._network = await self._connect(self.metadata)
        except UserError as error:
            self.stop_now(events.Stop(error.code, str(error)))
            return
        self._rounds = Rounds(network, self.spec, self.work, self._tasks, time.monotonic, Random())
        await network.serve(self._rounds.handlers() | Donor(self.work.states).handlers())
        self._tasks.start_soon(self._publish_records)
        self._post(events.SwarmJoined())
        kept: tuple[str, ...] = ()
        while True:
            records = await network.lookup(self._record_kind)
            wall = time.time()
            self.view = membership.view_of(records, wall)
            self._post(events.ViewSeen(self.view, wall, self.work.pending_tokens))
            kept = await self._keep_addresses(kept)
            await anyio.sleep(VIEW_SECONDS)

    async def _keep_addresses(self, kept: tuple[str, ...]) -> tuple[str, ...]:
        """Remember where live peers are, to join again without the coordinator."""
        live = tuple(it.addresses[0] for it in self.view.others(self.peer_id) if it.addresses)
        if live == kept:
            return kept
        known = self.metadata.meeting(live)
        try:
            await anyio.to_thread.run_sync(save_metadata, self.settings.folder, known)
        except OSError as error:
            log.warning("cannot remember the swarm: %s", error)
        return live

    @property
    def _record_kind(self) -> str:
        return f"record:{self.spec.run_id}"

    async def _publish_records(self) -> None:
        while True:
            self._changed = anyio.Event()
            await self._publish()
            with anyio.move_on_after(RECORD_SECONDS):
                await self._changed.wait()

    async def _publish(self) -> None:
        if self._network is None:
            return
        self._sequence += 1
        record = peer_record(self.snapshot(), time.time(), self._sequence)
        await self._network.publish(
            self._record_kind, record.SerializeToString(), membership.RECORD_SECONDS
        )

    async def _lead(self, effect: events.Lead) -> None:
        try:
            await lead(self._rounds, effect.others)
        except Refused as refusal:
            self._post(events.AttemptEnded(self.peer_id, False, str(refusal)))

    async def _synchronise(self, effect: events.Synchronise) -> None:
        network, at, trainer = self._network, effect.position, self.work.trainer
        if network is None or trainer is None:
            self._post(events.SyncFailed(at, "the trainer is being restarted"))
            return
        try:
            state = await self._replayed(effect)
            if state is None:
                parameters = trainer.vectors.inbox.size
                state = await download(network, effect.holders, at, parameters)
                self._rounds.feedback.forget()
        except Unreachable as error:
            self._post(events.SyncFailed(at, str(error)))
            return
        await self.work.follow(state)

    async def _replayed(self, effect: events.Synchronise) -> GlobalState | None:
        """The state that is one round ahead, from that round's parts; None if it is not."""
        if not self.work.has_state or effect.position.round != self.work.state.round + 1:
            return None
        for holder in effect.holders[:2]:
            try:
                state, _ = await self._rounds.archive.catch_up(
                    self.work.state, holder, effect.position.digest
                )
            except (Unreachable, Refused, Malformed) as error:
                log.debug("no replay from %s: %s", short(holder), error)
            else:
                return state
        return None

    # ---- the state ---------------------------------------------------------------------

    async def _begin_from_seed(self) -> None:
        trainer = self.work.trainer
        if trainer is None:
            return  # it just died; the next one begins
        parameters = trainer.vectors.outbox.copy()
        state = GlobalState(0, 0, parameters, parameters * 0)
        await self.work.begin(state)
        await self._evaluate(state)

    async def _resume_checkpoint(self) -> None:
        if self._checkpoint is not None:
            self._saved_round = self._checkpoint.round
            await self.work.begin(self._checkpoint)

    async def _keep_checkpoints(self) -> None:
        while True:
            await anyio.sleep(CHECKPOINT_SECONDS)
            await self._save()

    async def _save(self) -> None:
        if not self.work.has_state or self.work.state.round == self._saved_round:
            return
        state = self.work.state
        try:
            await anyio.to_thread.run_sync(save_state, self.settings.folder, state)
            self._saved_round = state.round
        except OSError as error:
            log.warning("no checkpoint of round %d: %s", state.round, error)

    def _is_evaluator(self, state: GlobalState, outcome: Outcome) -> bool:
        """Each round one of its members evaluates the new state; they take turns."""
        return outcome.member_index == state.round % max(1, outcome.members)

    async def _evaluate(self, state: GlobalState) -> None:
        trainer = self.work.trainer
        if trainer is None:
            return
        try:
            loss = await trainer.evaluate(state.parameters)
        except TrainerDied as error:
            log.debug("no evaluation of round %d: %s", state.round, error)
            return
        if math.isfinite(loss):
            self.reporter.add_validation(
                coordinator_pb2.Validation(round=state.round, run_tokens=state.tokens, loss=loss)
            )

    async def _wrap_up(self) -> None:
        state, trainer = self.work.state, self.work.trainer
        await self._evaluate(state)
        if self.settings.export is not None and trainer is not None:
            try:
                await trainer.export(state.parameters, self.settings.export)
            except (OSError, TrainerDied) as error:
                log.error("the model could not be written: %s", error)
        await self.reporter.send()
        self._post(events.WrappedUp())

    # ---- what rounds tell --------------------------------------------------------------

    def _began(self, leader: str) -> None:
        self._post(events.AttemptBegan(leader))

    def _adopted(self, state: GlobalState, outcome: Outcome | None) -> None:
        if outcome is not None:
            self._ended(outcome)
            if self._is_evaluator(state, outcome):
                self._tasks.start_soon(self._evaluate, state)
        self._post(events.StateAdopted(_position(state), state.tokens))

    def _concluded(self, outcome: Outcome) -> None:
        log.info("round %d is void: %s", outcome.round, outcome.reason)
        self._ended(outcome)

    def _ended(self, outcome: Outcome) -> None:
        if outcome.committed:
            self._round_seconds.append(outcome.seconds)
        self.reporter.add_round(round_outcome(outcome, self.work.state, time.time()))
        self._post(events.AttemptEnded(outcome.leader, outcome.committed, outcome.reason))

    def _fell_behind(self, reason: str) -> None:
        log.warning("%s", reason)
        self._post(events.FellBehind(reason))

    # ---- status ------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """This moment, for reports and status."""
        now = time.monotonic()
        return Snapshot(
            run_id=self.spec.run_id,
            peer_id=self.peer_id,
            name=self.settings.name,
            phase=Phase.STOPPED if self._stopping.is_set() else self._peer.phase,
            reason=self._peer.reason,
            state=self.work.state if self.work.has_state else None,
            tokens=self.work.merged_tokens,
            pending_tokens=self.work.pending_tokens,
            tokens_per_second=self._speed.tokens_per_second(now),
            train_loss=self._speed.loss(),
            inner_steps=self.work.inner_steps,
            peers=len(self.view.others(self.peer_id)) + 1,
            target_tokens=self.spec.stop.tokens,
            addresses=self._network.addresses if self._network else (),
            round_seconds=list(self._round_seconds),
        )


def _position(state: GlobalState) -> Position:
    return Position(state.round, state.digest)
