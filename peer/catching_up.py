"""Getting to a state that others hold: replay the last rounds, or download all of it.

And where two halves of a split swarm meet again: getting the other half's state, to merge it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from peer.averaging.history import Branch
from peer.averaging.lineage import Header
from peer.averaging.malformed import Malformed
from peer.averaging.rounds import Rounds
from peer.events import Synchronise, TakeIn
from peer.fetching import Fetcher
from peer.membership import Position
from peer.swarm.interface import Refused, Unreachable, short
from peer.transfer.download import download
from peer.work import LocalWork

log = logging.getLogger(__name__)

ASKED_HOLDERS = 2


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
    if work.trainer is None:
        raise Unreachable("the trainer is being restarted")
    with work.moving():
        if work.has_state and await _replay(rounds, wanted):
            return
        await _learn_lineage(rounds, wanted.position, wanted.holders)
        common = _common(rounds, work, wanted.position)
        if common is not None and not wanted.give_up:
            raise Apart(common)
        parameters = work.trainer.vectors.inbox.size
        state = await fetcher.fetch(rounds.network, wanted.holders, wanted.position, parameters)
        if work.has_state:
            await rounds.jump(wanted.holders[0], state)
        else:
            rounds.history.lineage.add(state.header)
            await work.begin(state)


async def take_in(rounds: Rounds, work: LocalWork, wanted: TakeIn) -> None:
    """Have the other half's state at hand for the next round; `Unreachable` if it is not one."""
    if work.trainer is None:
        raise Unreachable("the trainer is being restarted")
    await _learn_lineage(rounds, wanted.position, wanted.holders)
    common = _common(rounds, work, wanted.position)
    if common is None:
        raise Unreachable("it has nothing that was merged since the two went apart")
    parameters = work.trainer.vectors.inbox.size
    state = await download(rounds.network, wanted.holders, wanted.position, parameters)
    rounds.history.branch = Branch(state, common)
    log.info("round %d of the other half is at hand, to be merged", state.round)


async def _replay(rounds: Rounds, wanted: Synchronise) -> bool:
    """Do the rounds that lead to the state, if they and their parts are still to be had."""
    for holder in wanted.holders[:ASKED_HOLDERS]:
        try:
            await rounds.replay(holder, wanted.position.digest)
        except (Unreachable, Refused, Malformed) as error:
            log.debug("no replay from %s: %s", short(holder), error)
            continue
        return True
    return False


async def _learn_lineage(rounds: Rounds, at: Position, holders: Sequence[str]) -> None:
    for holder in holders[:ASKED_HOLDERS]:
        try:
            await rounds.archive.learn_lineage(holder, at.digest)
        except (Unreachable, Refused, Malformed) as error:
            log.debug("no lineage from %s: %s", short(holder), error)
            continue
        return


def _common(rounds: Rounds, work: LocalWork, there: Position) -> Header | None:
    """Where this peer's state and another went apart; None if one descends from the other."""
    if not work.has_state:
        return None
    lineage, own = rounds.history.lineage, work.state
    common = lineage.common(own.digest, there.digest)
    if common is None or common.digest in (own.digest, there.digest):
        return None
    return common
