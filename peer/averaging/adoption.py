"""Moving on to a committed state: what a round has merged of this peer's work, it does not keep."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import anyio.to_thread
import numpy as np

from peer.averaging.attempt import Attempt, Outcome, outcome_of
from peer.averaging.codecs import FlatVector
from peer.averaging.history import History
from peer.averaging.local import Fate, Local
from peer.averaging.manifest import Manifest, included_parts, left_out_reason
from peer.averaging.parts import Part
from peer.averaging.state import GlobalState, adoption_shift
from peer.averaging.vectors import empty_vector

log = logging.getLogger(__name__)


class Adoption:
    """Moves one peer from state to state."""

    def __init__(self, local: Local, history: History, own: str) -> None:
        self._local = local
        self._history = history
        self._own = own

    async def finish(self, attempt: Attempt, manifest: Manifest, state: GlobalState) -> None:
        """Move to the state after a round that this peer was in, less what it put into it."""
        included = self._included(attempt, manifest)
        shift = await anyio.to_thread.run_sync(
            adoption_shift, attempt.base, state, attempt.cut.parameters, included
        )
        outcome = self._account(attempt, manifest, included)
        self._history.arrive(state)
        await self._local.adopt(state, shift, outcome)

    async def follow(
        self, state: GlobalState, manifests: Sequence[Manifest], complete: bool
    ) -> None:
        """Move to a state that others have reached.

        manifests: the rounds in between, oldest first, as far as they are known; complete: all
        are. Work that may be in a round which nobody can tell of is dropped: better lost than
        merged twice.
        """
        base, history = self._local.state, self._history
        shift = await anyio.to_thread.run_sync(_difference, state, base)
        fate, outcome = Fate.CARRIED, None
        for manifest in manifests:
            doubt, resumed = history.doubt, history.resumed
            if doubt is not None and doubt.roster == manifest.roster:
                outcome = self._settle(doubt, manifest, shift)
                fate = Fate.MERGED if outcome.merged else Fate.CARRIED
            elif resumed is not None and resumed.settle(manifest, self._own, shift):
                fate = Fate.MERGED
        if not complete and self._drop_what_is_in_doubt(shift):
            fate = Fate.DROPPED
        history.arrive(state)
        await self._local.follow(state, shift, fate, outcome)

    def _settle(self, doubt: Attempt, manifest: Manifest, shift: FlatVector) -> Outcome:
        """Take out of `shift` what a round has merged of an attempt that was given up in doubt."""
        included = self._included(doubt, manifest)
        for part in included:
            shift[part.where] += _work(doubt)[part.where]
        outcome = self._account(doubt, manifest, included)
        self.forget_doubt()
        return outcome

    def _drop_what_is_in_doubt(self, shift: FlatVector) -> bool:
        """Whether there was anything."""
        history = self._history
        if history.doubt is not None:
            shift += _work(history.doubt)
            tokens = history.doubt.cut.tokens
            log.warning("%d tokens may be merged already, and nobody can tell: dropped", tokens)
        elif history.resumed is not None:
            shift += history.resumed.work
            log.warning("inner work of the checkpoint may be merged already: dropped")
        else:
            return False
        self.forget_doubt()
        history.resumed = None
        history.feedback.forget()
        return True

    def keep_in_doubt(self, attempt: Attempt) -> None:
        """The others may have committed what is void here: see `follow`."""
        if attempt.exchange is not None:
            attempt.keep_cut()
            self._history.doubt = attempt

    def forget_doubt(self) -> None:
        """It is settled, or this peer goes on as if it were."""
        if self._history.doubt is not None:
            self._history.doubt.shed()
            self._history.doubt = None

    def _included(self, attempt: Attempt, manifest: Manifest) -> list[Part]:
        """The parts of a member's work that are in a round; an owner may claim others, too."""
        if attempt.exchange is None:
            return []
        sent = attempt.exchange.sent_parts()
        return [it for it in included_parts(manifest, self._member(manifest)) if it in sent]

    def _account(self, attempt: Attempt, manifest: Manifest, included: Sequence[Part]) -> Outcome:
        """Remember what the codec has lost; how the attempt ended."""
        exchange = attempt.exchange
        if exchange is not None:
            answered = exchange.answered(manifest.parts)
            self._history.feedback.keep(exchange.work, included, answered)
        member = self._member(manifest)
        reason = left_out_reason(manifest, member) if attempt.cut.tokens else "no inner work yet"
        return outcome_of(attempt, manifest, reason, self._own)

    def _member(self, manifest: Manifest) -> int:
        return manifest.roster.index(self._own)


def _difference(new: GlobalState, old: GlobalState) -> FlatVector:
    shift = empty_vector(new.parameters.size)
    np.subtract(new.parameters, old.parameters, out=shift)
    return shift


def _work(attempt: Attempt) -> FlatVector:
    """theta - phi, shape (n,)."""
    work: FlatVector = attempt.base.parameters - attempt.cut.parameters
    return work
