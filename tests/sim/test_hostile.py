"""What a hostile or unlucky member must not be able to do to the others."""

from __future__ import annotations

import anyio
import numpy as np
import pytest

from peer.averaging import archive
from peer.averaging import leader as leading
from peer.averaging.leader import lead
from peer.averaging.links import Link
from peer.averaging.malformed import Malformed
from peer.averaging.manifest import Manifest, ManifestPart
from peer.averaging.methods import MANIFEST
from peer.averaging.roster import Pledge, Roster, form_roster, parse_roster, roster_message
from peer.averaging.state import GlobalState
from peer.swarm.interface import Unreachable, unary
from peer.swarm.memory import Crossing
from swarmpb.v1 import swarm_pb2
from tests.sim.swarm import PARAMETERS, SimulatedPeer, SimulatedSwarm, simulated_swarm
from tests.tiny import tiny_spec

pytestmark = pytest.mark.anyio


async def test_a_leader_that_makes_up_merged_tokens_moves_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lie(roster: Roster, parts: tuple[ManifestPart, ...], *_: object) -> Manifest:
        return Manifest(roster, parts, 2**61, bytes(32))

    monkeypatch.setattr(leading, "Manifest", lie)
    async with simulated_swarm(3) as swarm:
        await swarm.round()
        assert [peer.state.tokens for peer in swarm.peers] == [0, 0, 0]
        assert all("tokens do not follow" in peer.lost_because for peer in swarm.peers)
        assert not any(peer.busy for peer in swarm.peers)


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

        swarm.faults.append(cut_off)
        await swarm.round()
        assert [peer.state.round for peer in swarm.peers] == [1, 1, 0]
        swarm.faults.clear()
        await lonely.catches_up_with(swarm.peers[0])
        assert lonely.outcomes[-1].merged
        np.testing.assert_allclose(lonely.local, lonely.state.parameters, atol=1e-6)
        merged = sum(it.tokens for peer in swarm.peers for it in peer.outcomes if it.merged)
        assert merged == lonely.state.tokens
        assert lonely.rounds.history.doubt is None, "only once"


@pytest.mark.parametrize("codec", ["int8", "int4"])
async def test_an_owner_whose_answers_were_lost_keeps_what_it_owed(codec: str) -> None:
    async with simulated_swarm(3, codec) as swarm:
        await swarm.round()
        owner = swarm.peers[2]
        parts = [part for part in owner.manifest.roster.parts if part.owner == 2]
        owed = [owner.rounds.history.feedback.of_answers(part) for part in parts]
        assert any(np.abs(it).max() > 0 for it in owed if it is not None)

        def lose_its_answers(crossing: Crossing) -> None:
            told = crossing.is_reply and crossing.method in ("exchange", "roster")
            if told and crossing.sender == owner.name:
                raise Unreachable("lost on the way")

        swarm.faults.append(lose_its_answers)
        await swarm.round()
        assert "void" in owner.reason
        for part, before in zip(parts, owed, strict=True):
            np.testing.assert_array_equal(owner.rounds.history.feedback.of_answers(part), before)


async def test_ended_attempts_hold_no_vectors() -> None:
    async with simulated_swarm(3, "int8") as swarm:
        for _ in range(4):
            await swarm.round()
        for attempt in swarm.peers[1].rounds._attempts.values():
            assert attempt.base.parameters.size == attempt.cut.parameters.size == 0
            assert attempt.foreseen is None
            assert attempt.exchange is not None
            work = attempt.exchange.work
            assert work._base.size == work._cut.size == 0
            assert work.lost is work._residual is None
            assert all(owned.lost is None for owned in attempt.exchange.owned)


@pytest.mark.parametrize("name", ["garbage!!", "Qm/../x", "päer", "", "Q" * 200])
async def test_a_roster_with_a_name_that_is_no_peer_id_is_malformed(name: str) -> None:
    spec = tiny_spec()
    nothing = np.zeros(PARAMETERS, np.float32)
    base = GlobalState(0, 0, nothing, nothing)
    pledges = {"anna": Pledge(5, Link()), name: Pledge(5, Link())}
    roster = form_roster(bytes(16), base, "anna", pledges, spec.round.codec)
    with pytest.raises(Malformed, match="no peer id"):
        parse_roster(roster_message(roster, spec), spec, PARAMETERS)


async def behind(swarm: SimulatedSwarm, rounds: int) -> SimulatedPeer:
    """The last peer, which has missed so many."""
    for _ in range(rounds):
        swarm.peers[1].concluded = anyio.Event()
        await lead(swarm.peers[0].rounds, [swarm.peers[1].name])
        await swarm.peers[1].concluded.wait()
    assert swarm.peers[0].state.round == rounds
    return swarm.peers[2]


async def test_a_holder_that_tells_too_much_of_missed_rounds_is_not_listened_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with simulated_swarm(3, "int8") as swarm:
        late = await behind(swarm, 2)
        monkeypatch.setattr(archive, "_MANIFESTS_BYTES", 700)
        with pytest.raises(Malformed, match="too large"):
            await late.catches_up_with(swarm.peers[0])


async def test_a_holder_that_is_slow_about_each_missed_round_holds_nobody_up_for_long() -> None:
    async with simulated_swarm(3) as swarm:
        late, slow = await behind(swarm, 20), swarm.peers[0]

        async def dawdle(caller: str, request: swarm_pb2.ManifestRequest) -> swarm_pb2.Manifest:
            await anyio.sleep(4)
            return await slow.rounds.archive.on_manifest(caller, request)

        await slow.network.serve({MANIFEST: unary(dawdle)})
        began = anyio.current_time()
        with pytest.raises(Unreachable, match="too slowly"):
            await late.catches_up_with(slow)
        assert anyio.current_time() - began < 40
