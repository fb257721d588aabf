"""One peer's user allows little of the network: it sends its parts in a stronger codec."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest

from peer.averaging import rounds
from peer.averaging.codecs import Codec, Int8
from peer.averaging.links import NO_LIMIT, Allowance, User
from peer.averaging.own_codec import choose_codec
from peer.swarm.memory import Crossing
from tests.sim.swarm import PARAMETERS, SimulatedPeer, simulated_swarm

pytestmark = pytest.mark.anyio


class Sparing(User):
    """Allows little; `said` is what it heard of the codecs that were used for it."""

    def __init__(self, allowed: Allowance) -> None:
        self.allowed = allowed
        self.said: list[str] = []

    def allowance(self) -> Allowance:
        return self.allowed

    def sends_with(self, codec: str) -> None:
        self.said.append(codec)


def merged_everywhere(peer: SimulatedPeer) -> bool:
    outcome = peer.outcomes[-1]
    return outcome.committed and not outcome.reason


@pytest.mark.parametrize(("runs", "own"), [("fp32", "int8"), ("int8", "int4"), ("int4", "sparse")])
async def test_its_work_is_in_every_round_and_all_agree_on_every_bit(runs: str, own: str) -> None:
    """Data runs short for three rounds, and then there is enough again."""
    sizes = {"fp32": 0.3, "int8": 0.6, "int4": 0.2}
    random = Random(0)
    async with simulated_swarm(4, runs) as swarm:
        user = Sparing(NO_LIMIT)
        sparing = swarm.peers[1]
        sparing.rounds.history.links.user = user
        longest = sparing.rounds.spec.round.max_seconds
        answers = PARAMETERS * {"fp32": 4, "int8": 1, "int4": 0.5}[runs]
        # what the answers take is not this peer's to choose
        little = Allowance(data=(answers * (1 + sizes[runs]) + 2000) / longest)
        for allowed in (NO_LIMIT, little, little, little, NO_LIMIT):
            user.allowed = allowed
            for peer in swarm.peers:
                peer.trains(random)
            await swarm.attempt()
            assert len({peer.state.digest for peer in swarm.peers}) == 1
            assert merged_everywhere(sparing), sparing.reason
        assert user.said == ["", own, own, own, ""]


async def test_what_its_codec_loses_arrives_in_later_rounds() -> None:
    """Its work travels as the largest sixty-fourth of its values; the run's codec is exact."""
    async with simulated_swarm(2, "fp32") as swarm:
        sparing = swarm.peers[0]
        sparing.rounds.history.links.user = Sparing(Allowance(upload=1.0))
        work = np.random.default_rng(3).standard_normal(PARAMETERS, np.float32)
        for number in range(3):
            sparing.local = sparing.state.parameters - (work if number == 0 else 0 * work)
            swarm.peers[1].local = swarm.peers[1].state.parameters.copy()
            await swarm.attempt()
        sparing.rounds.history.links.user = User()
        for peer in swarm.peers:
            peer.local = peer.state.parameters.copy()
        await swarm.attempt()
        # all of it has arrived by now: the pseudo-gradients of the rounds add up to the work
        feedback = sparing.rounds.history.feedback.arrays()
        assert not feedback["sent"].any(), "nothing is owed any more"


async def test_a_codec_that_is_not_taken_leaves_its_sender_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Weird(Int8):
        name = "gzip"

    def choose(user: User, *arguments: Any) -> Codec:
        return Weird() if isinstance(user, Sparing) else choose_codec(user, *arguments)

    monkeypatch.setattr(rounds, "choose_codec", choose)
    async with simulated_swarm(3, "int8") as swarm:
        odd = swarm.peers[2]
        odd.rounds.history.links.user = Sparing(NO_LIMIT)
        for peer in swarm.peers:
            peer.trains(Random(1))
        await swarm.attempt()
        assert len({peer.state.digest for peer in swarm.peers}) == 1
        assert "codec" in odd.reason


async def test_it_uploads_as_much_less_as_its_codec_is_stronger() -> None:
    sent: dict[str, int] = {}

    def count(crossing: Crossing) -> None:
        if crossing.method == "exchange" and not crossing.is_reply:
            sent[crossing.sender] = sent.get(crossing.sender, 0) + crossing.data

    async with simulated_swarm(4, "int8") as swarm:
        swarm.hub.tap = count
        sparing = swarm.peers[3]
        sparing.rounds.history.links.user = Sparing(Allowance(upload=1.0))
        for peer in swarm.peers:
            peer.trains(Random(2))
        await swarm.attempt(leader=0)
        assert merged_everywhere(sparing), sparing.reason
    usual = max(sent.values())
    assert sent[sparing.name] < usual / 20
