"""Rounds that went on without a peer: replayed, or settled by what others tell, and how long."""

from __future__ import annotations

import anyio
import numpy as np
import pytest

from peer.averaging import archive, history
from peer.averaging.history import LEAST_KEPT_PARTS, MOST_VECTORS, KeptRound
from peer.averaging.malformed import Malformed
from peer.averaging.manifest import manifest_message
from peer.averaging.methods import MANIFEST
from peer.membership import Position
from peer.swarm.interface import Refused, Unreachable, unary
from peer.swarm.memory import Crossing
from peer.transfer.donor import Donor
from peer.transfer.download import download
from swarmpb.v1 import swarm_pb2
from tests.sim.resuming import Account
from tests.sim.swarm import PARAMETERS, SimulatedPeer, SimulatedSwarm, simulated_swarm

pytestmark = pytest.mark.anyio

LATE = 2
"""The peer that misses rounds."""


def kept(peer: SimulatedPeer) -> list[KeptRound]:
    """What a peer remembers, the oldest first."""
    return list(peer.rounds.history._rounds.values())


async def rounds_without(account: Account, count: int) -> None:
    for _ in range(count):
        await account.round(without=(LATE,))


async def left_in_doubt(account: Account) -> SimulatedPeer:
    """A round is committed with the work of a peer that hears nothing of the decision."""
    swarm = account.swarm
    lonely = swarm.peers[LATE]

    def cut_off(crossing: Crossing) -> None:
        if crossing.method == "agreement" and lonely.name in (crossing.sender, crossing.receiver):
            raise Unreachable("cut off")

    swarm.faults.append(cut_off)
    await account.round()
    swarm.faults.clear()
    assert lonely.rounds.history.doubt is not None
    assert lonely.state.round < swarm.peers[0].state.round
    return lonely


# ---- replay ----------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["int8", "int4"])
@pytest.mark.parametrize("missed", [2, 5, 8])
async def test_missed_rounds_are_replayed_in_a_row(codec: str, missed: int) -> None:
    async with simulated_swarm(3, codec) as swarm:
        account = Account(swarm, LATE)
        for peer in swarm.peers:
            peer.rounds.history.needed_since = lambda: [0]
        await account.round()
        late = swarm.peers[LATE]
        owed = late.rounds.history.feedback.arrays()["sent"].copy()
        account.trained += late.trains(swarm.random)
        await rounds_without(account, missed)
        await late.rounds.missed.replay(swarm.peers[0].name, swarm.peers[0].state.digest)
        swarm.assert_agreement(1 + missed)
        assert len(swarm.finished(1 + missed)) == 3
        late.assert_nothing_lost()
        account.assert_every_piece_counts_once()
        np.testing.assert_array_equal(late.rounds.history.feedback.arrays()["sent"], owed)
        await account.round()
        account.assert_every_piece_counts_once()
        swarm.assert_agreement(2 + missed)


# ---- doubt -----------------------------------------------------------------------------


async def test_who_is_in_doubt_and_must_download_is_told_what_was_merged() -> None:
    async with simulated_swarm(4) as swarm:
        account = Account(swarm, LATE)
        await account.round()
        lonely = await left_in_doubt(account)
        account.trained += lonely.trains(swarm.random)
        await rounds_without(account, 4)
        assert not await account.catch_up(swarm.peers[0]), "the parts are gone"
        assert lonely.outcomes[-1].merged
        assert lonely.rounds.history.doubt is None
        account.assert_every_piece_counts_once()
        await account.round()
        account.assert_every_piece_counts_once()


async def test_a_doubt_outlives_a_try_for_which_nobody_came() -> None:
    async with simulated_swarm(4) as swarm:
        account = Account(swarm, LATE)
        await account.round()
        lonely = await left_in_doubt(account)
        in_doubt = lonely.cut_work.copy()
        await swarm.attempt(leader=LATE, without=(0, 1, 3))
        assert "peers needed have cut" in lonely.reason
        lonely.cut_work = in_doubt
        assert await account.catch_up(swarm.peers[0])
        account.assert_every_piece_counts_once()


async def test_a_doubt_ends_when_another_round_was_made_of_that_state() -> None:
    """What that attempt would have merged is not dropped later, for want of somebody to tell."""
    async with simulated_swarm(4) as swarm:
        account = Account(swarm, LATE)
        await account.round()
        lonely = swarm.peers[LATE]

        def nobody_agrees(crossing: Crossing) -> None:
            if crossing.method == "agreement":
                raise Unreachable("lost on the way")

        swarm.faults.append(nobody_agrees)
        await swarm.round()
        account.trained += lonely.cut_work - 0
        swarm.faults.clear()
        assert lonely.rounds.history.doubt is not None
        await rounds_without(account, 1)
        assert await account.catch_up(swarm.peers[0])
        assert lonely.rounds.history.doubt is None
        account.assert_every_piece_counts_once()


# ---- how long rounds are kept ----------------------------------------------------------


@pytest.mark.parametrize("codec", ["fp32", "int8", "int4"])
async def test_parts_go_when_they_take_more_than_a_vector_and_manifests_stay(codec: str) -> None:
    async with simulated_swarm(2, codec) as swarm:
        for _ in range(12):
            await swarm.round()
        rounds = kept(swarm.peers[0])
        assert [it.manifest.round for it in rounds] == list(range(1, 13))
        with_parts = [it for it in rounds if it.held]
        assert with_parts == rounds[-len(with_parts) :], "the newest"
        assert len(with_parts) >= LEAST_KEPT_PARTS
        room = max(4 * PARAMETERS, sum(it.size for it in rounds[-LEAST_KEPT_PARTS:]))
        assert sum(it.size for it in with_parts) <= room
        one_more = rounds[-1].size * (len(with_parts) + 1)
        assert one_more > 4 * PARAMETERS, "all that there is room for"


async def test_parts_that_somebody_needs_stay_within_four_vectors() -> None:
    async with simulated_swarm(2, "fp32") as swarm:
        one = swarm.peers[0].rounds.history
        one.needed_since = lambda: [3, 7]
        for _ in range(6):
            await swarm.round()
        assert [it.manifest.round for it in kept(swarm.peers[0]) if it.held] == [4, 5, 6]
        for _ in range(6):
            await swarm.round()
        rounds = [it for it in kept(swarm.peers[0]) if it.held]
        assert [it.manifest.round for it in rounds] == [9, 10, 11, 12]
        assert sum(it.size for it in rounds) <= MOST_VECTORS * 4 * PARAMETERS
        one.needed_since = list
        await swarm.round()
        assert [it.manifest.round for it in kept(swarm.peers[0]) if it.held] == [12, 13]


async def test_manifests_are_kept_of_as_many_rounds_as_can_be_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(history, "KEPT_MANIFESTS", 5)
    async with simulated_swarm(2) as swarm:
        for _ in range(8):
            await swarm.round()
        assert [it.manifest.round for it in kept(swarm.peers[0])] == [4, 5, 6, 7, 8]


async def test_a_joiner_whose_download_takes_ten_rounds_replays_all_of_them() -> None:
    async with simulated_swarm(3, "int8") as swarm:
        account = Account(swarm, LATE)
        await account.round()
        state = swarm.peers[0].state
        rate = 8 * PARAMETERS / 100.0  # bytes a second
        giving = swarm.peers[0]
        donor = Donor(lambda: [giving.state], lambda: rate)
        giving.rounds.history.needed_since = donor.needed_since
        await giving.network.serve(donor.handlers())
        joiner = swarm.peers[LATE]
        donors = [giving.name]
        arrived = anyio.Event()

        async def get() -> None:
            at = Position(state.round, state.digest)
            await joiner.rounds.missed.jump(
                await download(joiner.network, donors, at, PARAMETERS), donors
            )
            arrived.set()

        swarm.hub.tasks.start_soon(get)
        await anyio.sleep(1.0)  # it is under way
        await rounds_without(account, 10)
        assert not arrived.is_set()
        await arrived.wait()
        assert joiner.state.digest == state.digest
        await rounds_without(account, 1)  # before it has asked for what it missed
        assert await account.catch_up(giving), "not a second download"
        assert joiner.state.round == 12
        swarm.assert_agreement(12)
        await anyio.sleep(300)
        await rounds_without(account, 1)
        sizes = [it.size for it in kept(giving)]
        assert sum(sizes) <= 4 * PARAMETERS, "nobody needs them any more"


# ---- liars -----------------------------------------------------------------------------


async def lies(swarm: SimulatedSwarm, lie: dict[bytes, swarm_pb2.Manifest]) -> SimulatedPeer:
    """A peer that answers with these manifests instead of its own."""
    liar = swarm.peers[0]

    async def answer(caller: str, request: swarm_pb2.ManifestRequest) -> swarm_pb2.Manifest:
        if request.digest not in lie:
            raise Refused("this round is not kept here any more")
        return lie[request.digest]

    await liar.network.serve({MANIFEST: unary(answer)})
    return liar


@pytest.mark.parametrize("kind", ["loop", "another digest", "another roster", "none"])
async def test_a_chain_of_made_up_manifests_moves_nobody(kind: str) -> None:
    async with simulated_swarm(4) as swarm:
        account = Account(swarm, LATE)
        await account.round()
        lonely = await left_in_doubt(account)
        await rounds_without(account, 4)
        head = swarm.peers[0].state
        spec = swarm.peers[0].rounds.spec
        told = {
            it.manifest.state_digest: manifest_message(it.manifest, spec)
            for it in kept(swarm.peers[0])
        }
        newest = told[head.digest]
        if kind == "loop":
            newest.roster.digest = head.digest
        elif kind == "another digest":
            newest.state_digest = bytes(32)
        elif kind == "another roster":
            # as if the rounds since had begun where the peer stands: it would keep its work
            newest.roster.digest = lonely.state.digest
        else:
            told.clear()
        liar = await lies(swarm, told)
        before = lonely.state.digest
        with pytest.raises((Malformed, Unreachable, Refused)):
            await lonely.rounds.missed.replay(liar.name, head.digest)
        assert lonely.state.digest == before
        honest = swarm.peers[1]
        await lonely.rounds.archive.learn_lineage(honest.name, head.digest)
        await lonely.rounds.missed.jump(head, [liar.name, honest.name])
        account.assert_every_piece_counts_once()


async def test_a_chain_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "KEPT_MANIFESTS", 3)
    async with simulated_swarm(4) as swarm:
        account = Account(swarm, LATE)
        await account.round()
        await rounds_without(account, 5)
        head = swarm.peers[0].state
        late = swarm.peers[LATE]
        with pytest.raises(Malformed, match="too many rounds"):
            await late.rounds.archive.manifests(swarm.peers[0].name, head.digest, late.state)
