"""What a hostile or unlucky member must not be able to do to the others."""

from __future__ import annotations

import anyio
import numpy as np
import pytest

from peer.averaging import leader as leading
from peer.averaging.exchange import PartOwner
from peer.averaging.parts import HeldPart, split
from peer.averaging.roster import Malformed, form_roster, parse_roster, roster_message
from peer.swarm.interface import Unreachable
from peer.swarm.memory import Crossing
from tests.sim.swarm import PARAMETERS, simulated_swarm
from tests.tiny import tiny_spec

pytestmark = pytest.mark.anyio


async def test_a_leader_that_makes_up_merged_tokens_moves_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leading, "merged_tokens", lambda *_: 2**61)
    async with simulated_swarm(3) as swarm:
        with anyio.fail_after(30):
            await swarm.round()
        assert [peer.state.tokens for peer in swarm.peers] == [0, 0, 0]
        assert all("tokens do not follow" in peer.lost_because for peer in swarm.peers)
        assert not any(peer.rounds.busy for peer in swarm.peers)


async def test_an_owner_that_counts_in_a_listener_loses_its_part_and_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    average = PartOwner._average

    def with_a_listener(owner: PartOwner) -> HeldPart:
        return HeldPart((0, 1, 2), (), average(owner).encoded)

    async with simulated_swarm(3, "int8", tokens=(100, 100, 0)) as swarm:
        monkeypatch.setattr(PartOwner, "_average", with_a_listener)
        with anyio.fail_after(30):
            await swarm.round()
        assert not any(peer.rounds.busy for peer in swarm.peers)
        swarm.assert_agreement(max(peer.state.round for peer in swarm.peers))


async def test_work_that_a_round_has_merged_does_not_ride_along_a_second_time() -> None:
    """Cut off between exchange and decision: void here, committed with this work elsewhere."""
    async with simulated_swarm(3) as swarm:
        lonely = swarm.peers[2]

        def cut_off(crossing: Crossing) -> None:
            if crossing.method == "agreement" and lonely.name in (
                crossing.sender,
                crossing.receiver,
            ):
                raise Unreachable("cut off")

        swarm.hub.tap = cut_off
        with anyio.fail_after(60):
            await swarm.round()
        assert [peer.state.round for peer in swarm.peers] == [1, 1, 0]
        swarm.hub.tap = lambda crossing: None
        state, manifest = await lonely.rounds.archive.catch_up(
            lonely.state, swarm.peers[0].name, swarm.peers[0].state.digest
        )
        assert await lonely.rounds.finish_late(manifest, state)
        assert lonely.outcomes[-1].merged
        np.testing.assert_allclose(lonely.local, lonely.state.parameters, atol=1e-6)
        merged = sum(it.tokens for peer in swarm.peers for it in peer.outcomes if it.merged)
        assert merged == lonely.state.tokens
        assert not await lonely.rounds.finish_late(manifest, state), "only once"


async def test_an_owner_whose_answers_were_lost_keeps_what_it_owed() -> None:
    async with simulated_swarm(3, "int8") as swarm:
        await swarm.round()
        owner, part = swarm.peers[2], split(PARAMETERS, 3)[2]
        owed = owner.rounds.feedback.of_answers(part)
        assert owed is not None
        before = owed.copy()

        def lose_its_answers(crossing: Crossing) -> None:
            told = crossing.is_reply and crossing.method in ("exchange", "roster")
            if told and crossing.sender == owner.name:
                raise Unreachable("lost on the way")

        swarm.hub.tap = lose_its_answers
        await swarm.round()
        assert "void" in owner.outcomes[-1].reason
        np.testing.assert_array_equal(owner.rounds.feedback.of_answers(part), before)


async def test_ended_attempts_hold_no_vectors() -> None:
    async with simulated_swarm(3, "int8") as swarm:
        for _ in range(4):
            await swarm.round()
        for attempt in swarm.peers[1].rounds._attempts.values():
            assert attempt.base.parameters.size == attempt.cut.parameters.size == 0
            assert attempt.exchange is not None
            assert attempt.exchange.payload.size == 0
            assert attempt.exchange.sent_values == {}


@pytest.mark.parametrize("name", ["garbage!!", "Qm/../x", "päer", "", "Q" * 200])
async def test_a_roster_with_a_name_that_is_no_peer_id_is_malformed(name: str) -> None:
    spec = tiny_spec()
    roster = form_roster(bytes(16), 0, bytes(32), "anna", {"anna": 5, name: 5}, PARAMETERS)
    with pytest.raises(Malformed, match="no peer id"):
        parse_roster(roster_message(roster, spec), spec, PARAMETERS)
