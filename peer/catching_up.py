"""Getting to a state that others hold: replay its last round, or download all of it."""

from __future__ import annotations

import logging

from peer.averaging.roster import Malformed
from peer.averaging.rounds import Rounds
from peer.averaging.state import GlobalState
from peer.events import Synchronise
from peer.swarm.interface import Refused, Unreachable, short
from peer.transfer import download
from peer.work import LocalWork

log = logging.getLogger(__name__)

REPLAY_HOLDERS = 2


async def catch_up(rounds: Rounds, work: LocalWork, wanted: Synchronise) -> None:
    """Adopt the state that `wanted` names; `Unreachable` if its holders cannot give it."""
    if work.trainer is None:
        raise Unreachable("the trainer is being restarted")
    state = await _replayed(rounds, work, wanted)
    if state is None:
        parameters = work.trainer.vectors.inbox.size
        state = await download(rounds.network, wanted.holders, wanted.position, parameters)
        rounds.feedback.forget()
    await work.follow(state)


async def _replayed(rounds: Rounds, work: LocalWork, wanted: Synchronise) -> GlobalState | None:
    """The state if it is one round ahead and that round's parts are kept; else None."""
    if not work.has_state or wanted.position.round != work.state.round + 1:
        return None
    for holder in wanted.holders[:REPLAY_HOLDERS]:
        try:
            return await rounds.archive.catch_up(work.state, holder, wanted.position.digest)
        except (Unreachable, Refused, Malformed) as error:
            log.debug("no replay from %s: %s", short(holder), error)
    return None
