"""What the run's states are worth: loss, text seen, and the model at its end."""

from __future__ import annotations

import logging
import math
from pathlib import Path

from peer.averaging.coverage import decoded
from peer.averaging.state import GlobalState
from peer.reporter import Reporter
from peer.status import text_coverage
from peer.training.death import TrainerDied
from peer.work import LocalWork
from swarmpb.v1 import coordinator_pb2

log = logging.getLogger(__name__)


class Evaluator:
    """Tells the coordinator what the run's states are worth."""

    def __init__(self, work: LocalWork, reporter: Reporter) -> None:
        self._work = work
        self._reporter = reporter

    async def evaluate(self, state: GlobalState) -> None:
        """Measure the loss of a state, if there is a trainer to do it, and report it."""
        if self._work.trainer is None:
            return
        try:
            loss = await self._work.trainer.evaluate(state.parameters)
        except TrainerDied as error:
            log.debug("no evaluation of round %d: %s", state.round, error)
            return
        if math.isfinite(loss):
            self._reporter.add_validation(
                coordinator_pb2.Validation(round=state.round, run_tokens=state.tokens, loss=loss)
            )

    async def wrap_up(self, export: Path | None) -> None:
        """Evaluate the run's last state, and write it to a folder if asked to."""
        state = self._work.state
        await self.evaluate(state)
        if export is not None and self._work.trainer is not None:
            try:
                await self._work.trainer.export(state.parameters, export)
            except (OSError, TrainerDied) as error:
                log.error("the model could not be written: %s", error)


def coverage_told(work: LocalWork) -> coordinator_pb2.Coverage | None:
    """How much of the text the state has seen; None while nobody here knows the text's length."""
    if work.trainer is None or not work.has_state:
        return None
    state = work.state
    return text_coverage(decoded(state.coverage), state.round, work.trainer.pass_chunks)
