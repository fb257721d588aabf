"""A volunteer behind a router: the others find out that it cannot be dialled, and rounds go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.benchmarks.namespaces import NoNamespacesError, Sites, sites
from tests.benchmarks.paced_swarm import PacedPeer, PacedSwarm, paced_swarm, run_of, running
from tests.e2e.processes import JOIN_SECONDS, home_in, rounds_go_on
from tests.e2e.router import behind_router

pytestmark = pytest.mark.timeout(240)

RUN = run_of(
    "reach", target_tokens=2048, min_seconds=0.3, max_seconds=1.5, exchange_seconds=4, min_peers=3,
)  # fmt: skip
VALUES = 20_000
STEP_SECONDS = 0.05
ROUNDS = 3


@contextmanager
def places() -> Iterator[tuple[Sites, ExitStack]]:
    """A peer's site, two routers' and the coordinator's."""
    with ExitStack() as held:
        try:
            yield held.enter_context(sites(4)), held
        except NoNamespacesError as error:
            pytest.skip(str(error))


def peer_at(swarm: PacedSwarm, place: object, index: int) -> PacedPeer:
    """A peer of the run at a site."""
    made = swarm.peer(RUN.run_id, index, VALUES, STEP_SECONDS)
    return PacedPeer(made.home, made.name, made.coordinator, RUN.run_id, made.pace, place)  # type: ignore[arg-type]  # a Site


def test_peers_behind_routers_own_nothing_and_are_in_every_round(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """One that can be dialled is enough for two that cannot, and not each other either."""
    with places() as (four, held):
        sites_of = [four[0], *(held.enter_context(behind_router(four[it])) for it in (1, 2))]
        home = held.enter_context(home_in(tmp_path_factory.mktemp("r")))  # sockets have short names
        swarm = held.enter_context(paced_swarm(home, [RUN], four.places))
        held.callback(swarm.server.stop)
        peers = [peer_at(swarm, it, index) for index, it in enumerate(sites_of)]
        with running(peers):
            outside, *hidden = peers
            status = outside.until(lambda it: it.reach != "", JOIN_SECONDS, "a word on its reach")
            assert status.reach == "direct", status.reach_reason
            for peer in hidden:
                status = peer.until(lambda it: it.reach != "", JOIN_SECONDS, "a word on its reach")
                assert status.reach == "outgoing only"
                assert "lets no connection in" in status.reach_reason
                assert any("set p2p_port and forward" in it for it in status.notices)

            rounds_go_on(peers, 2 * ROUNDS)
            hidden[0].until_it_merges()
            told = swarm.rounds(RUN.run_id)
            assert [peer.leave() for peer in peers] == [0, 0, 0]
    # one of them may have been the owner of a round that was under way when it found out
    known = [it for it in told if it.committed and it.round > status.round + 2]
    assert {it.members for it in known} == {3}
    sent = {peer.name: [it.bytes_sent for it in known if it.peer == peer.name] for peer in peers}
    for peer in hidden:
        assert len(sent[peer.name]) >= ROUNDS
        # the owner sends answers beside its own part of the work
        assert max(sent[peer.name]) < min(sent[outside.name])
