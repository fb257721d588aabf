"""Rounds with a fault: the others commit without it, in time, and nothing of its work is lost."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import numpy as np
import pytest

from peer.averaging import archive as archiving
from peer.averaging import exchange as exchanging
from peer.averaging import leader as leading
from peer.averaging.answers import COLLECT_SHARE, send_answer
from peer.averaging.codecs import UNIT, Bytes, Codec
from peer.averaging.deadlines import DEADLINES
from peer.averaging.feedback import Work
from peer.averaging.links import FASTEST, Link
from peer.averaging.methods import EXCHANGE
from peer.averaging.owner import PartOwner
from peer.averaging.parts import HeldPart, Part
from peer.averaging.roster import Roster, roster_message
from peer.averaging.vigil import LOOK_SECONDS
from peer.swarm.interface import Method, Refused, Stream, Unreachable
from peer.swarm.memory import Crossing
from swarmpb.spec import RunSpec
from swarmpb.v1 import swarm_pb2
from tests.sim.swarm import (
    EXCHANGE_SECONDS,
    PROMPT,
    SILENCE,
    SimulatedPeer,
    SimulatedSwarm,
    owned_by,
    simulated_swarm,
)

pytestmark = pytest.mark.anyio

COLLECT = COLLECT_SHARE * EXCHANGE_SECONDS


# ---- a peer that is lost, wherever it stands -------------------------------------------


def at_its(
    swarm: SimulatedSwarm,
    peer: SimulatedPeer,
    act: Callable[[], None],
    number: int,
    method: str = "",
    is_reply: bool | None = None,
) -> None:
    """Do `act` when a peer is about to send its `number`-th item on a stream.

    Without a method: its `number`-th item of all in the attempt.
    """
    sent = 0

    def fault(crossing: Crossing) -> None:
        nonlocal sent
        if crossing.sender != peer.name:
            return
        there = (crossing.method, crossing.number, crossing.is_reply) == (method, number, is_reply)
        if there if method else sent == number:
            swarm.faults.remove(fault)
            act()
        sent += 1

    swarm.faults.append(fault)


async def sent_in_an_undisturbed_round(index: int) -> int:
    """How many items a peer of three sends in a round."""
    async with simulated_swarm(3, smallest_part=2 * UNIT) as swarm:
        await swarm.round()
        await anyio.sleep(1)  # until everybody is told
        return sum(crossing.sender == swarm.peers[index].name for crossing in swarm.crossings)


async def comes_back(swarm: SimulatedSwarm, index: int, was_alive: bool) -> None:
    """A frozen peer wakes up and gets to where the others are."""
    peer = swarm.peers[index]
    if not was_alive:
        return
    peer.network.thaw()
    with anyio.fail_after(300):
        await peer.concluded.wait()
        await anyio.wait_all_tasks_blocked()
    assert not peer.busy
    other = next(it for it in swarm.peers if it is not peer)
    if peer.state.round < other.state.round:
        await peer.catches_up_with(other)
    assert peer.state.digest == other.state.digest


async def everything_is_merged_by_the_next_round(swarm: SimulatedSwarm, round_: int) -> None:
    """What a fault has kept out rode along: without more training, it is in the next round."""
    for peer in swarm.living():
        peer.assert_nothing_lost()
    swarm.faults.clear()
    leader = next(index for index in (1, 0) if swarm.peers[index].network.alive)
    base = swarm.peers[leader].state
    await swarm.attempt(leader=leader)
    assert swarm.finished(round_) == swarm.living()
    swarm.assert_agreement(round_)
    if swarm.peers[0].rounds.spec.round.codec == "fp32":
        swarm.assert_made_of_the_work_in_it(base, leader)
    for peer in swarm.living():
        np.testing.assert_allclose(peer.unmerged, 0, atol=1e-5)
        peer.assert_nothing_lost()


async def the_others_commit(swarm: SimulatedSwarm, lost: int, within: float) -> None:
    """They finish the round together, in time, and it is made of what it says."""
    swarm.assert_agreement(1)
    for index, peer in enumerate(swarm.peers):
        if index != lost:
            assert peer.state.round == 1, peer.outcomes
            assert peer.outcomes[-1].committed
            assert peer.outcomes[-1].merged
            assert swarm.seconds(index) <= within
            peer.assert_nothing_lost()


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_a_member_lost_at_any_point_costs_the_others_one_silence(fault: str) -> None:
    for number in range(await sent_in_an_undisturbed_round(2)):
        async with simulated_swarm(3, smallest_part=2 * UNIT) as swarm:
            lost, base = swarm.peers[2], swarm.peers[0].state
            at_its(swarm, lost, getattr(lost.network, fault), number)
            await swarm.round(without=[2])
            in_time = max(PROMPT, DEADLINES.cut if "roster" not in methods_of(swarm) else 0)
            await the_others_commit(swarm, lost=2, within=in_time)
            swarm.assert_made_of_the_work_in_it(base)
            await comes_back(swarm, 2, fault == "freeze")
            await everything_is_merged_by_the_next_round(swarm, 2)


def methods_of(swarm: SimulatedSwarm) -> set[str]:
    lost = swarm.peers[2].name
    return {crossing.method for crossing in swarm.crossings if crossing.sender == lost}


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_a_leader_lost_at_any_point_leaves_the_others_agreed(fault: str) -> None:
    """Committed or void, but the same for both, soon, and with nothing lost."""
    committed = set()
    for number in range(await sent_in_an_undisturbed_round(0)):
        async with simulated_swarm(3, smallest_part=2 * UNIT) as swarm:
            leader, survivors = swarm.peers[0], swarm.peers[1:]
            at_its(swarm, leader, getattr(leader.network, fault), number)
            await swarm.round(without=[0])
            assert swarm.seconds(1, 2) < EXCHANGE_SECONDS
            assert len({peer.state.digest for peer in survivors}) == 1
            assert not any(peer.busy for peer in survivors)
            round_ = survivors[0].state.round
            committed.add(round_ == 1)
            for peer in survivors:
                if peer.called.is_set():
                    assert peer.outcomes[-1].committed or peer.reason
            await comes_back(swarm, 0, fault == "freeze")
            await everything_is_merged_by_the_next_round(swarm, round_ + 1)
    assert committed == {True, False}


async def test_when_the_leader_dies_before_the_roster_the_round_is_void_and_says_why() -> None:
    async with simulated_swarm(3) as swarm:
        leader = swarm.peers[0]
        at_its(swarm, leader, leader.network.kill, 0, "roster", is_reply=False)
        await swarm.round()
        for peer in swarm.peers[1:]:
            assert peer.state.round == 0
            # one of them had just got the roster, and asks the other in vain
            assert peer.reason.endswith(("before the exchange", "roster answers"))


@pytest.mark.parametrize("told", [0, 1, 2, 3])
async def test_when_the_leader_dies_while_it_tells_the_decision_the_others_agree(
    told: int,
) -> None:
    """Killed before anybody accepted: void for all. After one did: that one's manifest may win.

    After a majority did: committed.
    """
    async with simulated_swarm(4) as swarm:
        leader, accepts = swarm.peers[0].network, []

        def die(crossing: Crossing) -> None:
            if crossing.sender == leader.peer_id and crossing.method == "agreement":
                accepts.append(crossing.receiver)
                if len(accepts) > told:
                    leader.kill()

        swarm.faults.append(die)
        await swarm.round(without=[0])
        survivors = swarm.peers[1:]
        assert len({peer.state.digest for peer in survivors}) == 1
        assert {peer.outcomes[-1].committed for peer in survivors} <= (
            {True} if told > 2 else {True, False}
        )
        await everything_is_merged_by_the_next_round(swarm, survivors[0].state.round + 1)


async def test_a_frozen_leader_that_wakes_up_finds_its_round_void() -> None:
    async with simulated_swarm(3) as swarm:
        leader = swarm.peers[0]
        at_its(swarm, leader, leader.network.freeze, 0, "agreement", is_reply=False)
        await swarm.round(without=[0])
        leader.network.thaw()
        await leader.concluded.wait()
        assert {peer.state.round for peer in swarm.peers} == {0}
        await everything_is_merged_by_the_next_round(swarm, 1)


# ---- a frozen peer: what the record says -----------------------------------------------


async def test_a_member_that_freezes_before_its_upload_is_left_out() -> None:
    async with simulated_swarm(3) as swarm:
        frozen = swarm.peers[2]
        at_its(swarm, frozen, frozen.network.freeze, 0, "exchange", is_reply=False)
        await swarm.round(without=[2])
        await the_others_commit(swarm, lost=2, within=PROMPT)
        manifest = swarm.peers[0].manifest
        assert left_out(manifest) == {2: f"nothing came within {SILENCE:.1f} s"}
        for index, part in enumerate(manifest.parts):
            if index in owned_by(manifest, 2):
                assert part.void, "its owner is gone"
            else:
                assert part.included == (0, 1)
        assert "void" in swarm.peers[1].reason
        await comes_back(swarm, 2, True)
        assert frozen.reason == f"left out: nothing came within {SILENCE:.1f} s"
        assert not frozen.outcomes[-1].merged
        await everything_is_merged_by_the_next_round(swarm, 2)


async def test_a_member_that_freezes_in_the_middle_of_its_upload_counts_as_far_as_it_came() -> None:
    async with simulated_swarm(3, client_mode=[2]) as swarm:
        frozen = swarm.peers[2]
        at_its(swarm, frozen, frozen.network.freeze, 3, "exchange", is_reply=False)
        await swarm.round(without=[2])
        await the_others_commit(swarm, lost=2, within=PROMPT)
        manifest = swarm.peers[0].manifest
        assert left_out(manifest)[2].endswith(f"was silent for {SILENCE:.1f} s")
        with_it = [index for index, part in enumerate(manifest.parts) if 2 in part.included]
        assert 0 < len(with_it) < len(manifest.parts)
        assert not any(part.void for part in manifest.parts)
        await comes_back(swarm, 2, True)
        await everything_is_merged_by_the_next_round(swarm, 2)


async def test_an_owner_that_freezes_before_its_first_answer_loses_its_parts() -> None:
    async with simulated_swarm(3) as swarm:
        owner = swarm.peers[2]
        at_its(swarm, owner, owner.network.freeze, 0, "exchange", is_reply=True)
        await swarm.round(without=[2])
        await the_others_commit(swarm, lost=2, within=PROMPT)
        manifest = swarm.peers[0].manifest
        void = [index for index, part in enumerate(manifest.parts) if part.void]
        assert void == owned_by(manifest, 2)
        in_parts = f"in {12 - len(void)} of 12 parts"
        assert swarm.peers[0].reason == f"{in_parts}; part {void[0]}: void, its owner was lost"
        await comes_back(swarm, 2, True)
        await everything_is_merged_by_the_next_round(swarm, 2)


async def test_a_peer_that_stands_still_for_less_than_a_silence_is_in_the_round() -> None:
    async with simulated_swarm(3) as swarm:
        slow = swarm.peers[2]

        async def wake() -> None:
            await anyio.sleep(SILENCE - 0.5)
            slow.network.thaw()

        def doze() -> None:
            slow.network.freeze()
            swarm.hub.tasks.start_soon(wake)

        at_its(swarm, slow, doze, 3, "exchange", is_reply=False)
        await swarm.round()
        assert len(swarm.finished(1)) == 3
        swarm.assert_agreement(1)
        assert all(part.included == (0, 1, 2) for part in slow.manifest.parts)
        assert swarm.seconds() == pytest.approx(SILENCE - 0.5)


async def test_an_owner_that_only_says_it_lives_is_given_up_when_it_should_be_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = PartOwner.answer

    async def never(owned: PartOwner, seconds: float) -> None:
        await (anyio.sleep_forever() if owned.part.owner == 2 else answer(owned, seconds))

    monkeypatch.setattr(PartOwner, "answer", never)
    async with simulated_swarm(3) as swarm:
        await swarm.round(without=[2])
        within = COLLECT + 2 * SILENCE
        await the_others_commit(swarm, lost=2, within=within)
        manifest = swarm.peers[0].manifest
        void = [index for index, part in enumerate(manifest.parts) if part.void]
        assert void == owned_by(manifest, 2)


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_the_parts_that_a_lost_owner_has_answered_count(fault: str) -> None:
    """They are fetched from the survivor that holds them; the others are void and carried."""
    async with simulated_swarm(4) as swarm:
        owner, told, base = swarm.peers[3], swarm.peers[1], swarm.peers[0].state

        def answer_one_member_two_parts(crossing: Crossing) -> None:
            if (crossing.sender, crossing.method) == (owner.name, "exchange") and crossing.is_reply:
                if crossing.receiver != told.name:
                    raise Unreachable("the wire is cut")
                if crossing.number == 4:
                    getattr(owner.network, fault)()

        swarm.faults.append(answer_one_member_two_parts)
        await swarm.round(without=[3])
        await the_others_commit(swarm, lost=3, within=PROMPT)
        manifest = swarm.peers[0].manifest
        first, second, third = owned_by(manifest, 3)
        assert manifest.parts[first].holders == manifest.parts[second].holders == (1,)
        assert manifest.parts[first].included == (0, 1, 2, 3)
        assert manifest.parts[third].void
        assert {crossing.receiver for crossing in swarm.sent("part") if not crossing.is_reply} == {
            told.name
        }
        swarm.assert_made_of_the_work_in_it(base)
        await comes_back(swarm, 3, fault == "freeze")
        await everything_is_merged_by_the_next_round(swarm, 2)


def left_out(manifest: Any) -> dict[int, str]:
    """By member, the reason in a round's record."""
    return {entry.member: entry.reason for entry in manifest.left_out}


# ---- bytes that are not what they should be --------------------------------------------

Spoil = Callable[[bytearray, Part, list[Part]], Bytes]


class SpoiltWork:
    """Work whose bytes are spoilt on their way to the owners."""

    def __init__(self, work: Work, roster: Callable[[], Roster | None], spoil: Spoil) -> None:
        self._work = work
        self._roster = roster
        self._spoil = spoil

    def encode(self, codec: Codec, part: Part) -> Bytes:
        roster = self._roster()
        assert roster is not None
        same_owner = [it for it in roster.parts if it.owner == part.owner]
        return self._spoil(self._work.encode(codec, part), part, same_owner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._work, name)


def spoils(peer: SimulatedPeer, spoil: Spoil) -> Callable[[], None]:
    """Let a peer send spoilt bytes; call the result to heal it."""
    feedback = peer.rounds.history.feedback
    honest = feedback.work

    def roster() -> Roster | None:
        attempt = peer.rounds._active
        return attempt.roster if attempt else None

    def spoilt(*args: Any) -> Any:
        return SpoiltWork(honest(*args), roster, spoil)

    setattr(feedback, "work", spoilt)  # noqa: B010
    return lambda: setattr(feedback, "work", honest)


def number(value: float) -> Spoil:
    """The first number (with a blockwise codec: the first scale) becomes `value`."""

    def spoil(data: bytearray, part: Part, parts: list[Part]) -> Bytes:
        return np.array(value, "<f4").tobytes() + data[4:]

    return spoil


def garbage(data: bytearray, part: Part, parts: list[Part]) -> Bytes:
    return np.random.default_rng(1).bytes(len(data))


def short(data: bytearray, part: Part, parts: list[Part]) -> Bytes:
    return data[:-4]


def last_short(data: bytearray, part: Part, parts: list[Part]) -> Bytes:
    return data[:-4] if part == parts[-1] else data


def first_long(data: bytearray, part: Part, parts: list[Part]) -> Bytes:
    return data + b"more" if part == parts[0] else data


def last_long(data: bytearray, part: Part, parts: list[Part]) -> Bytes:
    return data + b"more" if part == parts[-1] else data


def nothing(data: bytearray, part: Part, parts: list[Part]) -> Bytes:
    return b""


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (number(float("nan")), "refused: (not finite|a scale is negative or not a number)"),
        (number(float("inf")), "refused: not finite"),
        (number(1e30), "refused: a value above 10000"),
        (garbage, "refused: (not finite|a value above 10000|a scale is negative)"),
        (short, "sent more data than fits"),
        (last_short, r"refused: \d+ bytes instead of \d+"),
        (first_long, "sent more data than fits"),
        (last_long, "sent more data than fits"),
        (nothing, r"refused: 0 bytes instead of \d+"),
    ],
    ids=["nan", "inf", "huge", "garbage", "short", "last-short", "long", "last-long", "nothing"],
)
@pytest.mark.parametrize("codec", ["fp32", "int4"])
@pytest.mark.parametrize("owns", [True, False], ids=["owner", "client"])
async def test_a_peer_that_sends_bad_bytes_is_left_out_and_told_why(
    spoil: Spoil, reason: str, codec: str, owns: bool
) -> None:
    async with simulated_swarm(3, codec, client_mode=[] if owns else [1]) as swarm:
        bad = swarm.peers[1]
        heal = spoils(bad, spoil)
        await swarm.round()
        swarm.assert_agreement(1)
        assert len(swarm.finished(1)) == 3, "the bad one too takes the round from the others"
        assert swarm.seconds() < SILENCE, "nobody waits for it"
        manifest = swarm.peers[0].manifest
        assert set(left_out(manifest)) == {1}
        assert re.search(reason, bad.reason), bad.reason
        assert re.search(reason, left_out(manifest)[1])
        assert not any(part.void for part in manifest.parts)
        assert all({0, 2} <= set(part.included) for part in manifest.parts)
        assert np.isfinite(swarm.peers[0].state.parameters).all()
        heal()
        await everything_is_merged_by_the_next_round(swarm, 2)


def opens_exchanges(peer: SimulatedPeer, change: Callable[[Stream], None]) -> Callable[[], None]:
    """Change each exchange stream that a peer opens; call the result to heal it."""
    opening = peer.network.open

    @asynccontextmanager
    async def open_changed(
        other: str, method: Method[Any, Any], seconds: float
    ) -> AsyncIterator[Stream]:
        async with opening(other, method, seconds) as stream:
            if method is EXCHANGE:
                change(stream)
            yield stream

    setattr(peer.network, "open", open_changed)  # noqa: B010
    return lambda: setattr(peer.network, "open", opening)


async def test_of_a_part_sent_twice_the_first_counts() -> None:
    async with simulated_swarm(3) as swarm:
        eager, base = swarm.peers[1], swarm.peers[0].state

        def send_on(stream: Stream) -> None:
            finish = stream.finish

            async def once_more(seconds: float) -> None:
                await stream.send_data(memoryview(bytes(1200)), seconds)
                await finish(seconds)

            setattr(stream, "finish", once_more)  # noqa: B010

        opens_exchanges(eager, send_on)
        await swarm.round()
        assert len(swarm.finished(1)) == 3
        swarm.assert_agreement(1)
        assert swarm.seconds() < SILENCE
        assert all(part.included == (0, 1, 2) for part in eager.manifest.parts)
        swarm.assert_made_of_the_work_in_it(base)
        eager.assert_nothing_lost()


async def test_a_second_upload_of_a_member_is_refused_and_changes_nothing() -> None:
    async with simulated_swarm(3) as swarm:
        eager, owner, base = swarm.peers[1], swarm.peers[2], swarm.peers[0].state
        refusals: list[str] = []

        async def again(attempt: bytes) -> None:
            async with eager.network.open(owner.name, EXCHANGE, 1) as stream:
                await stream.send(swarm_pb2.Upload(attempt=attempt), 1)
                try:
                    await stream.receive(1)
                except Refused as refusal:
                    refusals.append(str(refusal))

        def upload_again() -> None:
            attempt = eager.rounds._active
            assert attempt is not None
            swarm.hub.tasks.start_soon(again, attempt.id)

        at_its(swarm, eager, upload_again, 3, "exchange", is_reply=False)
        await swarm.round()
        await anyio.sleep(1)
        assert refusals == ["this member is served already"]
        assert len(swarm.finished(1)) == 3
        assert all(part.included == (0, 1, 2) for part in eager.manifest.parts)
        swarm.assert_made_of_the_work_in_it(base)


async def test_a_member_that_sends_too_slowly_is_left_out_but_not_of_the_round() -> None:
    """It is never silent; its owners wait for it as long as they may."""
    async with simulated_swarm(3) as swarm:
        slow, base = swarm.peers[1], swarm.peers[0].state

        def trickle(stream: Stream) -> None:
            send_data = stream.send_data

            async def slowly(data: memoryview, seconds: float) -> None:
                for start in range(0, len(data), 1024):
                    await anyio.sleep(SILENCE / 2)
                    await send_data(data[start : start + 1024], seconds)

            setattr(stream, "send_data", slowly)  # noqa: B010

        heal = opens_exchanges(slow, trickle)
        await swarm.round()
        assert len(swarm.finished(1)) == 3
        swarm.assert_agreement(1)
        assert COLLECT <= swarm.seconds() <= COLLECT + 0.1, "its answers came while it sent"
        assert slow.reason == f"in 4 of 12 parts; part 0: did not arrive within {COLLECT:.1f} s"
        swarm.assert_made_of_the_work_in_it(base)
        heal()
        await everything_is_merged_by_the_next_round(swarm, 2)


async def test_a_member_that_comes_too_late_is_left_out_and_answered_all_the_same() -> None:
    async with simulated_swarm(3, client_mode=[1]) as swarm:
        late = swarm.peers[1]

        def begin_late(stream: Stream) -> None:
            send = stream.send

            async def later(message: Any, seconds: float) -> None:
                await anyio.sleep(SILENCE + 0.5)
                await send(message, seconds)

            setattr(stream, "send", later)  # noqa: B010

        heal = opens_exchanges(late, begin_late)
        await swarm.round()
        assert len(swarm.finished(1)) == 3
        swarm.assert_agreement(1)
        assert swarm.seconds() <= PROMPT
        assert late.reason == f"left out: nothing came within {SILENCE:.1f} s"
        heal()
        await everything_is_merged_by_the_next_round(swarm, 2)


@pytest.mark.parametrize("weight", [float("inf"), float("nan"), 0.0, -1.0, 1e9])
async def test_a_roster_with_made_up_weights_is_refused(
    weight: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_weight(roster: Roster, spec: RunSpec) -> swarm_pb2.Roster:
        message = roster_message(roster, spec)
        message.members[1].weight = weight
        return message

    async with simulated_swarm(3) as swarm:
        with monkeypatch.context() as patched:
            patched.setattr(leading, "roster_message", with_weight)
            await swarm.round()
        assert [peer.state.round for peer in swarm.peers] == [0, 0, 0]
        assert swarm.seconds() < EXCHANGE_SECONDS
        for peer in swarm.peers[1:]:
            assert "the weights do not follow from the tokens" in peer.reason
        await everything_is_merged_by_the_next_round(swarm, 1)


# ---- owners that lie -------------------------------------------------------------------


@pytest.mark.parametrize(
    "fooled", [{1}, {0}, {0, 1}, {0, 1, 2}], ids=["one", "leader", "half", "each"]
)
async def test_an_owner_that_answers_differently_cannot_part_the_members(
    fooled: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They agree on what most of them hold, and fetch it."""
    async with simulated_swarm(4) as swarm:
        owner = swarm.peers[3].name
        others = {swarm.peers[index].name: index for index in fooled}

        async def lie(stream: Any, held: HeldPart | None, seconds: float) -> None:
            member = others.get(stream._other.peer_id)
            if stream._own.peer_id == owner and member is not None and held is not None:
                values = np.frombuffer(held.encoded, "<f4") + np.float32(
                    1 + (member if len(fooled) == 3 else 0)
                )
                held = HeldPart(held.included, held.left_out, values.tobytes())
            await send_answer(stream, held, seconds)

        monkeypatch.setattr(exchanging, "send_answer", lie)
        await swarm.round()
        assert len(swarm.finished(1)) == 4
        swarm.assert_agreement(1)
        assert swarm.seconds() < SILENCE
        if len(fooled) == 1:
            asking = {crossing.sender for crossing in swarm.sent("part") if not crossing.is_reply}
            assert asking == set(others), "the others have what is agreed on"
        assert swarm.sent("part")
        for peer in swarm.peers:
            peer.assert_nothing_lost()


async def test_when_the_one_owner_of_everything_is_lost_all_work_is_carried() -> None:
    async with simulated_swarm(3, star=True) as swarm:
        for peer in swarm.peers:
            peer.rounds.history.links.add(Link(10**8 if peer is swarm.peers[2] else 1000, 10**8))
        owner = swarm.peers[2]
        at_its(swarm, owner, owner.network.freeze, 0, "exchange", is_reply=True)
        await swarm.round(without=[2])
        assert [peer.state.round for peer in swarm.peers[:2]] == [0, 0]
        assert swarm.seconds(0, 1) <= PROMPT
        assert swarm.peers[0].reason == "every owner was lost"
        owner.network.thaw()
        await owner.concluded.wait()
        await everything_is_merged_by_the_next_round(swarm, 1)


def void_answer(held: HeldPart) -> HeldPart | None:
    return None


def nan_answer(held: HeldPart) -> HeldPart:
    encoded = number(float("nan"))(bytearray(held.encoded), Part(0, 0, 0, 0), [])
    return HeldPart(held.included, (), encoded)


def short_answer(held: HeldPart) -> HeldPart:
    return HeldPart(held.included, (), held.encoded[:-4])


def long_answer(held: HeldPart) -> HeldPart:
    return HeldPart(held.included, (), bytes(held.encoded) + b"more")


def listener_answer(held: HeldPart) -> HeldPart:
    return HeldPart((0, 1, 2, 3), (), held.encoded)


def stranger_answer(held: HeldPart) -> HeldPart:
    return HeldPart((0, 1, 7), (), held.encoded)


@pytest.mark.parametrize(
    "change",
    [void_answer, nan_answer, short_answer, long_answer, listener_answer, stranger_answer],
)
@pytest.mark.parametrize("codec", ["fp32", "int4"])
async def test_an_owner_of_bad_answers_loses_what_it_owns_at_once(
    codec: str,
    change: Callable[[HeldPart], HeldPart | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It alone has them, and cannot give them to anybody: void, and carried."""
    async with simulated_swarm(4, codec, tokens=(100, 100, 0, 100)) as swarm:
        owner = swarm.peers[3].name

        async def lie(stream: Any, held: HeldPart | None, seconds: float) -> None:
            if stream._own.peer_id == owner and held is not None:
                held = change(held)
            await send_answer(stream, held, seconds)

        with monkeypatch.context() as patched:
            for module in (exchanging, archiving):
                patched.setattr(module, "send_answer", lie)
            await swarm.round()
            assert swarm.seconds(0, 1, 2) < SILENCE
        swarm.assert_agreement(1)
        assert all(peer.state.round == 1 for peer in swarm.peers[:3])
        manifest = swarm.peers[0].manifest
        void = [index for index, part in enumerate(manifest.parts) if part.void]
        assert void == owned_by(manifest, 3)
        await everything_is_merged_by_the_next_round(swarm, 2)


async def test_owners_that_boast_of_a_members_link_do_not_take_it_out_of_the_next_round() -> None:
    """The sum of what they say would fit no message."""

    class Boast(dict[int, int]):
        def get(self, *_: object) -> int:
            return 2**64 - 1

    async with simulated_swarm(3) as swarm:
        for liar in swarm.peers[1:]:

            def boast(liar: SimulatedPeer = liar) -> None:
                attempt = liar.rounds._active
                assert attempt is not None
                assert attempt.exchange is not None
                attempt.exchange.traffic.downloads = Boast()

            at_its(swarm, liar, boast, 0, "exchange", is_reply=True)
        await swarm.round()
        victim = swarm.peers[0].rounds
        assert victim.link == Link(2 * FASTEST, 0)
        await swarm.round(leader=1)
        assert len(swarm.finished(2)) == 3


# ---- a leader that stands still ------------------------------------------------------------


@pytest.mark.parametrize("point", ["cut", "roster", "agreement"])
async def test_a_frozen_leader_holds_nobody_up_for_longer_than_it_takes_to_ask_it(
    point: str,
) -> None:
    async with simulated_swarm(4) as swarm:
        leader = swarm.peers[0]

        def freeze(crossing: Crossing) -> None:
            if crossing.sender == leader.name and crossing.method == point:
                leader.network.freeze()

        swarm.faults.append(freeze)
        await swarm.round(without=[0])
        others = swarm.peers[1:]
        assert swarm.seconds(1, 2, 3) <= 2 * SILENCE + LOOK_SECONDS + DEADLINES.vote
        assert len({peer.state.digest for peer in others}) == 1
        assert not any(peer.busy for peer in others), "they are free for the next leader"
        swarm.faults.clear()
        before = others[0].state.round
        await swarm.round(leader=1, without=[0])
        assert all(peer.state.round == before + 1 for peer in others)


@pytest.mark.parametrize("point", ["cut", "roster", "exchange"])
async def test_a_member_that_stood_still_does_not_wait_for_what_is_over(point: str) -> None:
    async with simulated_swarm(4) as swarm:
        sleeper = swarm.peers[3]

        def freeze(crossing: Crossing) -> None:
            if crossing.sender == sleeper.name and crossing.method == point:
                sleeper.network.freeze()

        swarm.faults.append(freeze)
        await swarm.round(without=[3])
        swarm.faults.clear()
        await anyio.sleep(30)
        sleeper.network.thaw()
        woken = anyio.current_time()
        sleeper.rounds.stood_still()
        await sleeper.concluded.wait()
        assert anyio.current_time() - woken <= SILENCE + DEADLINES.vote
        swarm.assert_agreement(1)
