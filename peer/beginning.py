"""The first global state that a peer holds: from the spec's seed, or its own checkpoint."""

from __future__ import annotations

from peer.averaging.history import History
from peer.averaging.state import GlobalState
from peer.checkpoint_keeper import Checkpoints
from peer.evaluator import Evaluator
from peer.work import LocalWork


class Beginning:
    """Puts a first state in place."""

    def __init__(
        self, work: LocalWork, history: History, checkpoints: Checkpoints, evaluator: Evaluator
    ) -> None:
        self._work = work
        self._history = history
        self._checkpoints = checkpoints
        self._evaluator = evaluator

    async def from_seed(self) -> None:
        """Take the parameters that the trainer built, as round 0 of the run."""
        trainer = self._work.trainer
        if trainer is None:
            return  # it just died; the next one begins
        parameters = trainer.vectors.outbox.copy()
        state = GlobalState(0, 0, parameters, parameters * 0)
        await self._begin(state)
        await self._evaluator.evaluate(state)

    async def from_checkpoint(self) -> None:
        """Take what this machine has kept, if the trainer can go on from it."""
        state = await self._checkpoints.take_up()
        if state is not None:
            await self._begin(state)

    async def _begin(self, state: GlobalState) -> None:
        self._history.arrive(state)
        await self._work.begin(state)
