"""Moving on to a committed state: what a round has merged of this peer's work, it does not keep."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import anyio.to_thread
import numpy as np

from peer.averaging.attempt import Attempt, Outcome, outcome_of, outcome_recalled
from peer.averaging.codecs import FlatVector
from peer.averaging.history import History, ResumedWork
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
        self._history.resumed = None  # it was in that cut; no other round can have merged it
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
                history.resumed = None
            elif resumed is not None:
                self._settle_resumed(resumed, manifest, shift)
        if not complete:
            fate = self._drop_what_is_in_doubt(shift)
        else:
            self.forget_doubt()  # another round was made of that state
        history.arrive(state)
        await self._local.follow(state, shift, fate, outcome)

    def _settle(self, doubt: Attempt, manifest: Manifest, shift: FlatVector) -> Outcome:
        """Take out of `shift` what a round has merged of an attempt that was given up in doubt."""
        included = self._included(doubt, manifest)
        if self._local.holds_cut:
            work = _work(doubt)
            for part in included:
                shift[part.where] += work[part.where]
        outcome = self._account(doubt, manifest, included)
        self.forget_doubt()
        return outcome

    def _settle_resumed(self, resumed: ResumedWork, manifest: Manifest, shift: FlatVector) -> None:
        """The same for the work of an earlier process, whose cuts nobody here knows."""
        if self._own not in manifest.roster.members:
            return
        member = self._member(manifest)
        included = included_parts(manifest, member)
        resumed.take_out(included, shift)
        answered = [
            part
            for part, agreed in zip(manifest.roster.parts, manifest.parts, strict=True)
            if part.owner == member and not agreed.void
        ]
        self._history.feedback.forget_used(included, answered)
        self._local.recalled(outcome_recalled(manifest, member, left_out_reason(manifest, member)))
        if member in manifest.merged:
            self._local.settle_resumed(manifest.roster.tokens[member])

    def _drop_what_is_in_doubt(self, shift: FlatVector) -> Fate:
        """What may be merged, and nobody can tell."""
        history, fate = self._history, Fate.CARRIED
        if history.doubt is not None and self._local.holds_cut:
            shift += _work(history.doubt)
            tokens = history.doubt.cut.tokens
            log.warning("%d tokens may be merged already, and nobody can tell: dropped", tokens)
            fate = Fate.DROPPED
        elif history.resumed is not None and history.resumed.work is not None:
            shift += history.resumed.work
            log.warning("inner work of the checkpoint may be merged already: dropped")
            self._local.settle_resumed(0)
        if history.doubt is not None or history.resumed is not None:
            history.feedback.forget()
        self.forget_doubt()
        history.resumed = None
        return fate

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
        return outcome_of(attempt, manifest, left_out_reason(manifest, member), self._own)

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
