"""Getting to a state that others hold: replay its last round, or download all of it."""

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
        if not await _replay(rounds, work, wanted):
            parameters = work.trainer.vectors.inbox.size
            state = await download(rounds.network, wanted.holders, wanted.position, parameters)
            rounds.feedback.forget()
            await work.follow(state)


async def _replay(rounds: Rounds, work: LocalWork, wanted: Synchronise) -> bool:
    """Adopt the state if it is one round ahead and that round's parts are kept; else False."""
    if not work.has_state or wanted.position.round != work.state.round + 1:
        return False
    for holder in wanted.holders[:REPLAY_HOLDERS]:
        try:
            state, manifest = await rounds.archive.catch_up(
                work.state, holder, wanted.position.digest
            )
        except (Unreachable, Refused, Malformed) as error:
            log.debug("no replay from %s: %s", short(holder), error)
            continue
        if not await rounds.finish_late(manifest, state):
            await work.follow(state)
        return True
    return False
