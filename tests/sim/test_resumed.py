"""A peer that was killed comes back: what rounds have merged of its work is not merged again."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from peer.averaging import archive, history
from peer.swarm.interface import Unreachable
from peer.swarm.memory import Crossing
from tests.sim.resuming import Account
from tests.sim.swarm import owned_by, simulated_swarm

pytestmark = pytest.mark.anyio

LOST = 2
"""The peer that is killed."""


async def a_round_with(account: Account, share: str) -> None:
    """One that merges all, most, few or nothing of what the peer has cut.

    Nothing needs a peer in client mode: an owner has its own work at least.
    """
    swarm = account.swarm
    name = swarm.peers[LOST].name
    others = [peer.name for peer in swarm.peers if peer.name != name]
    deaf = others[: {"all": 0, "most": 1, "few": 2, "none": 3}[share]]

    def lose(crossing: Crossing) -> None:
        upload = crossing.method == "exchange" and not crossing.is_reply
        if upload and crossing.sender == name and crossing.receiver in deaf:
            raise Unreachable("lost on the way")

    swarm.faults.append(lose)
    await account.round()
    swarm.faults.clear()


async def goes_on(account: Account) -> None:
    """The peer is in the next rounds again, and nothing of it is lost or merged twice."""
    account.assert_every_piece_counts_once()
    for _ in range(2):
        account.whole_on_top()
        await account.round()
        account.assert_every_piece_counts_once()
    assert account.peer.rounds.history.resumed is None


@pytest.mark.parametrize("codec", ["fp32", "int8"])
async def test_back_before_anybody_has_committed_a_round(codec: str) -> None:
    async with simulated_swarm(3, codec) as swarm:
        account = Account(swarm, LOST)
        await account.round()
        account.trained += swarm.peers[LOST].trains(swarm.random)
        saved = account.save()
        swarm.peers[LOST].trains(swarm.random)  # lost
        peer = await account.come_back(saved)
        assert peer.rounds.history.feedback.arrays().keys() == saved.residuals.keys()
        await goes_on(account)


@pytest.mark.parametrize("codec", ["fp32", "int8"])
@pytest.mark.parametrize("share", ["all", "most", "few"])
async def test_back_after_a_round_that_had_its_later_cut(codec: str, share: str) -> None:
    async with simulated_swarm(3, codec) as swarm:
        account = Account(swarm, LOST)
        await account.round()
        account.trained += swarm.peers[LOST].trains(swarm.random)
        saved = account.save()
        await a_round_with(account, share)
        before = account.merged_tokens
        peer = await account.come_back(saved)
        assert await account.catch_up(swarm.peers[0])
        assert peer.resumed_settled == (share != "few"), "less than half of it does not count"
        assert peer.resumed_tokens == (0 if share == "few" else peer.tokens)
        assert before == peer.tokens + peer.resumed_tokens
        (recalled,) = peer.recalled_outcomes
        assert recalled.merged == (share != "few"), "so it can be told again, if that was lost"
        assert recalled.round == peer.state.round
        assert (recalled.reason == "") == (share == "all")
        await goes_on(account)


@pytest.mark.parametrize("order", list(permutations(["all", "few", "none"])))
async def test_back_after_three_rounds_with_all_few_and_nothing_of_its_work(
    order: tuple[str, ...],
) -> None:
    async with simulated_swarm(4, client_mode=[LOST]) as swarm:
        account = Account(swarm, LOST)
        await account.round()
        account.trained += swarm.peers[LOST].trains(swarm.random)
        saved = account.save()
        for share in order:
            await a_round_with(account, share)
        await account.round(without=(LOST,))
        await account.come_back(saved)
        await account.catch_up(swarm.peers[0])
        await goes_on(account)


@pytest.mark.parametrize("share", ["all", "most", "few"])
async def test_back_after_more_rounds_than_parts_are_kept_of(share: str) -> None:
    """The state is downloaded; the manifests tell what was merged."""
    async with simulated_swarm(4) as swarm:
        account = Account(swarm, LOST)
        await account.round()
        account.trained += swarm.peers[LOST].trains(swarm.random)
        saved = account.save()
        await a_round_with(account, share)
        for _ in range(5):
            await account.round(without=(LOST,))
        await account.come_back(saved)
        assert not await account.catch_up(swarm.peers[0])
        await goes_on(account)


async def test_back_after_more_rounds_than_anybody_can_tell_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Better lost than merged twice; and it is said."""
    for module in (history, archive):
        monkeypatch.setattr(module, "KEPT_MANIFESTS", 5)
    async with simulated_swarm(3) as swarm:
        account = Account(swarm, LOST)
        await account.round()
        account.trained += swarm.peers[LOST].trains(swarm.random)
        saved = account.save()
        for _ in range(6):
            await account.round(without=(LOST,))
        peer = await account.come_back(saved)
        assert not await account.catch_up(swarm.peers[0])
        assert "inner work of the checkpoint may be merged already: dropped" in caplog.text
        assert peer.resumed_settled
        np.testing.assert_allclose(peer.local, peer.state.parameters, atol=1e-4)
        account.trained = account.merged.copy()
        await goes_on(account)


async def test_a_try_that_came_to_nothing_does_not_make_it_forget_what_it_resumed() -> None:
    """Nobody has seen the others yet; then the round that had merged its work is replayed."""
    async with simulated_swarm(4) as swarm:
        account = Account(swarm, LOST)
        await account.round()
        account.trained += swarm.peers[LOST].trains(swarm.random)
        saved = account.save()
        await account.round()
        peer = await account.come_back(saved)
        await swarm.attempt(leader=LOST, without=(0, 1, 3))
        assert "1 of 2 peers needed have cut" in peer.reason
        assert await account.catch_up(swarm.peers[0])
        await goes_on(account)


async def test_a_replaced_trainer_has_nothing_that_could_be_taken_out() -> None:
    async with simulated_swarm(3) as swarm:
        account = Account(swarm, LOST)
        await account.round()
        account.trained += swarm.peers[LOST].trains(swarm.random)
        saved = account.save()
        await account.round()
        peer = await account.come_back(saved)
        assert peer.rounds.history.resumed is not None
        peer.rounds.history.resumed.work = None  # as `LocalWork.attach` does
        peer.local = peer.state.parameters.copy()
        await account.catch_up(swarm.peers[0])
        np.testing.assert_allclose(peer.local, peer.state.parameters, atol=1e-4)
        await goes_on(account)


@pytest.mark.parametrize("share", ["all", "most", "few"])
async def test_what_it_owed_is_sent_once(share: str) -> None:
    """A round since the checkpoint has sent what error feedback holds, where it had this peer."""
    async with simulated_swarm(3, "int4") as swarm:
        account = Account(swarm, LOST)
        await account.round()
        saved = account.save()
        owed = saved.residuals["sent"].copy()
        assert np.count_nonzero(owed) > 0.9 * owed.size
        await a_round_with(account, share)
        manifest = swarm.peers[0].manifest
        peer = await account.come_back(saved)
        await account.catch_up(swarm.peers[0])
        left = peer.rounds.history.feedback.arrays()
        for part in manifest.roster.parts:
            was_sent = LOST in manifest.parts[part.index].included
            expected = np.zeros(part.values) if was_sent else owed[part.where]
            np.testing.assert_array_equal(left["sent"][part.where], expected)
        assert owned_by(manifest, LOST)
        for index in owned_by(manifest, LOST):
            part = manifest.roster.parts[index]
            owes = peer.rounds.history.feedback.of_answers(part)
            assert owes is not None
            assert manifest.parts[index].void or not owes.any()
        await goes_on(account)
