"""Getting to a state that others hold: replay the last rounds, or download all of it."""

from __future__ import annotations

import logging

from peer.averaging.malformed import Malformed
from peer.averaging.rounds import Rounds
from peer.events import Synchronise
from peer.swarm.interface import Refused, Unreachable, short
from peer.transfer.download import download
from peer.work import LocalWork

log = logging.getLogger(__name__)

REPLAY_HOLDERS = 2


async def catch_up(rounds: Rounds, work: LocalWork, wanted: Synchronise) -> None:
    """Adopt the state that `wanted` names; `Unreachable` if its holders cannot give it."""
    if work.trainer is None:
        raise Unreachable("the trainer is being restarted")
    with work.moving():
        if work.has_state and await _replay(rounds, wanted):
            return
        parameters = work.trainer.vectors.inbox.size
        state = await download(rounds.network, wanted.holders, wanted.position, parameters)
        if work.has_state:
            await rounds.jump(wanted.holders[0], state)
        else:
            await work.begin(state)


async def _replay(rounds: Rounds, wanted: Synchronise) -> bool:
    """Do the rounds that lead to the state, if they and their parts are still to be had."""
    for holder in wanted.holders[:REPLAY_HOLDERS]:
        try:
            await rounds.replay(holder, wanted.position.digest)
        except (Unreachable, Refused, Malformed) as error:
            log.debug("no replay from %s: %s", short(holder), error)
            continue
        return True
    return False
