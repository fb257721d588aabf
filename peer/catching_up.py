"""Getting to a state that others hold: replay the last rounds, or download all of it.

And where two halves of a split swarm meet again: getting the other half's state, to merge it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import anyio.to_thread
import psutil

from peer.averaging.codecs import MAX_ABSOLUTE
from peer.averaging.history import Branch
from peer.averaging.lineage import KEPT_HEADERS, Header
from peer.averaging.malformed import Malformed
from peer.averaging.rounds import Rounds
from peer.averaging.state import MOST_GAIN, GlobalState
from peer.events import Synchronise, TakeIn
from peer.fetching import Fetcher, require_readable
from peer.membership import Position
from peer.swarm.interface import Refused, Unreachable, short
from peer.transfer.download import download
from peer.work import LocalWork
from swarmpb.spec import RunSpec

log = logging.getLogger(__name__)

ASKED_HOLDERS = 2
LEAST_HEADERS = 256
"""Of a state's history; more rounds than halves of a split swarm are usually apart."""


class Apart(Exception):
    """The state wanted and this peer's own have both gone on since `common`."""

    def __init__(self, common: Header) -> None:
        super().__init__(f"the swarm was split after round {common.round}")
        self.common = common


async def catch_up(rounds: Rounds, work: LocalWork, fetcher: Fetcher, wanted: Synchronise) -> None:
    """Adopt the state that `wanted` names, or a later one.

    Raises `Unreachable` if its holders cannot give it, `Apart` if that would give up what this
    peer's half of a split swarm has merged.
    """
    if work.trainer is None and work.has_state:
        raise Unreachable("the trainer is being restarted")
    with work.moving():
        if work.has_state and await _replay(rounds, wanted):
            fetcher.forget()
            return
        common = await _parting(rounds, work, wanted)
        if common is not None and not wanted.give_up:
            raise Apart(common)
        parameters = _parameters(rounds, work, wanted.position)
        state = await fetcher.fetch(rounds.network, wanted.holders, wanted.position, parameters)
        if work.has_state:
            await rounds.missed.jump(state, wanted.holders[:ASKED_HOLDERS])
        else:
            rounds.history.arrive(state)
            await work.begin(state)


def _parameters(rounds: Rounds, work: LocalWork, at: Position) -> int:
    """The length of the run's vector: the model's, or what a state's header says of it."""
    if work.trainer is not None:
        return work.trainer.vectors.inbox.size
    header = rounds.history.lineage.get(at.digest)
    if header is None:
        raise Unreachable("the model is not built yet, and nobody says how large the state is")
    room = psutil.virtual_memory().available // 2
    if 8 * header.parameters > room:
        raise Unreachable(f"its {header.parameters:,} parameters do not fit into memory")
    return header.parameters


async def take_in(rounds: Rounds, work: LocalWork, wanted: TakeIn) -> None:
    """Have the other half's state at hand for the next round; `Unreachable` if it is not one."""
    if work.trainer is None:
        raise Unreachable("the trainer is being restarted")
    await _learn_lineage(rounds, wanted.position, wanted.holders, KEPT_HEADERS)
    common = _common(rounds, work, wanted.position)
    if common is None:
        raise Unreachable("it has nothing that was merged since the two went apart")
    parameters = work.trainer.vectors.inbox.size
    state = await download(rounds.network, wanted.holders, wanted.position, parameters)
    require_readable(state)
    await anyio.to_thread.run_sync(_require_plausible, state, work.state, common, rounds.spec)
    history = rounds.history
    if _common(rounds, work, wanted.position) is None:
        return  # merged meanwhile
    if history.branch and history.lineage.descends(history.branch_digest, state.digest):
        return  # the other half went on, and its later state was here sooner
    history.branch = Branch(state, common, work.state.round)
    log.info("round %d of the other half is at hand, to be merged", state.round)


def _require_plausible(
    theirs: GlobalState, ours: GlobalState, common: Header, spec: RunSpec
) -> None:
    """`Unreachable` if the other half claims more than a half can have done.

    What rounds check of each part is checked of the whole: it is merged without its parts.
    """
    rounds = theirs.round - common.round
    gain, likely = theirs.tokens - common.tokens, max(1, rounds) * spec.round.target_tokens
    if gain > MOST_GAIN * max(likely, ours.tokens - common.tokens):
        raise Unreachable(f"it claims {gain:,} tokens in {rounds} rounds")
    vectors = (theirs.parameters, theirs.momentum)
    largest = max(float(bound) for it in vectors for bound in (it.max(), -it.min()))
    if not largest <= MAX_ABSOLUTE:
        raise Unreachable(f"it has a value of {largest:g}")


async def _replay(rounds: Rounds, wanted: Synchronise) -> bool:
    """Do the rounds that lead to the state, if they and their parts are still to be had."""
    for holder in wanted.holders[:ASKED_HOLDERS]:
        try:
            await rounds.missed.replay(holder, wanted.position.digest)
        except (Unreachable, Refused, Malformed) as error:
            log.debug("no replay from %s: %s", short(holder), error)
            continue
        return True
    return False


async def _parting(rounds: Rounds, work: LocalWork, wanted: Synchronise) -> Header | None:
    """Where this peer's half and the one with the state wanted went apart; None if they did not.

    Raises `Unreachable` if nobody tells, as then all that this half has merged may be at stake.
    """
    own = work.state.round if work.has_state else wanted.position.round
    few = min(KEPT_HEADERS, max(0, wanted.position.round - own) + LEAST_HEADERS)
    told = await _learn_lineage(rounds, wanted.position, wanted.holders, few)
    if not work.has_state or wanted.give_up:
        return None
    if told and not _akin(rounds, work, wanted.position):
        told = await _learn_lineage(rounds, wanted.position, wanted.holders, KEPT_HEADERS)
    if not told:
        raise Unreachable("nobody tells where it comes from")
    return _common(rounds, work, wanted.position)


async def _learn_lineage(rounds: Rounds, at: Position, holders: Sequence[str], most: int) -> bool:
    """Have holders prove where a state comes from, two in case one is silent about the most of it.

    Whether any has.
    """
    told = False
    for holder in holders[:ASKED_HOLDERS]:
        try:
            await rounds.archive.learn_lineage(holder, at.digest, most)
        except (Unreachable, Refused, Malformed) as error:
            log.debug("no lineage from %s: %s", short(holder), error)
        else:
            told = True
    return told


def _akin(rounds: Rounds, work: LocalWork, there: Position) -> bool:
    """Whether any state is known that both come from."""
    return rounds.history.lineage.common(work.state.digest, there.digest) is not None


def _common(rounds: Rounds, work: LocalWork, there: Position) -> Header | None:
    """Where this peer's state and another went apart; None if one descends from the other."""
    if not work.has_state:
        return None
    lineage, own = rounds.history.lineage, work.state
    common = lineage.common(own.digest, there.digest)
    if common is None or common.digest in (own.digest, there.digest):
        return None
    return common
