"""Rounds among simulated peers, told by real reporters to a real coordinator: who is credited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import pytest

from coordinator.registration import sign
from coordinator.service import CoordinatorService
from coordinator.storage.store import Store
from peer.coordinator_client import CoordinatorClient
from peer.journal import Journal
from peer.manifests_told import rosters_of
from peer.members import Members
from peer.reporter import Reporter
from peer.status import round_outcome
from swarmpb.membership import RunIdentity
from swarmpb.signing import PeerIdentity, SigningKey
from swarmpb.v1 import coordinator_pb2
from tests.sim.swarm import IDENTITIES, SimulatedPeer, SimulatedSwarm, simulated_swarm, spec_for

pytestmark = pytest.mark.anyio

RUN = spec_for("fp32").run_id
NOW = 1000.0
OWNER = SigningKey.generate()
IDENTITY = RunIdentity(RUN, spec_for("fp32").hash(), OWNER.public_key)


class DirectClient(CoordinatorClient):
    """Hands reports to a service without a connection in between."""

    def __init__(self, service: CoordinatorService) -> None:
        self._service = service

    async def report(
        self, identity: PeerIdentity, report: coordinator_pb2.ProgressReport
    ) -> coordinator_pb2.ReportReply:
        answer = self._service.take_report(identity.seal("report", report.SerializeToString()))
        return coordinator_pb2.ReportReply(
            accepted_sequence=answer.sequence,
            taken_row=answer.taken_row,
            wanted_rosters=answer.wanted_rosters,
        )


class Teller:
    """A simulated peer that tells a coordinator of its rounds."""

    def __init__(self, peer: SimulatedPeer, reporter: Reporter) -> None:
        self.reporter = reporter
        self.boasts = 1
        """It says that so many times its tokens were merged."""
        self.distorts: Callable[[coordinator_pb2.RoundRoster], None] = lambda roster: None
        self._peer = peer
        self._told = 0
        reporter.snapshot = lambda: coordinator_pb2.ProgressReport(
            run_id=RUN, peer_id=peer.name, phase="training"
        )
        reporter.rosters = self._rosters

    def _rosters(self, attempts: object) -> list[coordinator_pb2.RoundRoster]:
        assert isinstance(attempts, tuple)
        told = rosters_of(self._peer.rounds.history, attempts)
        for roster in told:
            self.distorts(roster)
        return told

    async def tells(self) -> None:
        """All that has happened since it last did."""
        for outcome in self._peer.outcomes[self._told :]:
            told = round_outcome(outcome, self._peer.state, NOW)
            told.own_tokens *= self.boasts
            self.reporter.add_round(told)
        self._told = len(self._peer.outcomes)
        await self.reporter.send()


class Run:
    """A swarm, and what a coordinator makes of what it is told."""

    def __init__(self, swarm: SimulatedSwarm, store: Store, service: CoordinatorService) -> None:
        self.swarm = swarm
        self.store = store
        self.service = service
        self.tellers: list[Teller] = []

    async def all_tell(self) -> None:
        """Twice: what they are asked for comes with their next report."""
        for teller in self.tellers * 2:
            await teller.tells()

    @property
    def credited(self) -> list[int]:
        """Tokens on the dashboard, in the order of the peers."""
        by_peer = {it.state.peer_id: it.tokens for it in self.service.progress(RUN).peers}
        return [by_peer[peer.name] for peer in self.swarm.peers]

    def reasons(self, index: int) -> list[str]:
        """Of a peer's receipts, the newest first."""
        receipts = self.store.history.receipts(RUN, self.swarm.peers[index].name)
        return [receipt.reason for receipt in receipts]

    def assert_sums_are_those_of_the_receipts(self) -> None:
        for peer, tokens in zip(self.swarm.peers, self.credited, strict=True):
            receipts = self.store.history.receipts(RUN, peer.name)
            assert sum(receipt.merged_tokens for receipt in receipts) == tokens
            assert all(receipt.observed for receipt in receipts)


@asynccontextmanager
async def told_run(folder: Path, peers: int = 3) -> AsyncIterator[Run]:
    async with AsyncExitStack() as stack:
        store = stack.enter_context(closing(Store.open(folder / "coordinator.sqlite")))
        service = CoordinatorService(store, now=lambda: NOW)
        service.register(sign(spec_for("fp32"), OWNER))
        tokens = tuple(100 * (index + 1) for index in range(peers))
        swarm = await stack.enter_async_context(simulated_swarm(peers, tokens=tokens))
        run = Run(swarm, store, service)
        for index, peer in enumerate(swarm.peers):
            journal = Journal(folder / f"{index}.sqlite")
            await journal.open()
            stack.push_async_callback(journal.close)
            reporter = Reporter(
                DirectClient(service),
                IDENTITIES[index],
                journal,
                coordinator_pb2.SignedSpec(),
                Members(IDENTITY, peer.name, lambda: NOW),
            )
            run.tellers.append(Teller(peer, reporter))
        yield run


async def test_what_peers_are_credited_with_adds_up_to_what_the_run_has(tmp_path: Path) -> None:
    async with told_run(tmp_path) as run:
        for _ in range(3):
            await run.swarm.round()
            await run.all_tell()
        assert run.credited == [300, 600, 900]
        assert sum(run.credited) == run.service.progress(RUN).tokens
        run.assert_sums_are_those_of_the_receipts()


async def test_a_boaster_gets_what_the_others_tell_of_it(tmp_path: Path) -> None:
    async with told_run(tmp_path) as run:
        run.tellers[0].boasts = 10
        await run.swarm.round()
        await run.tellers[0].tells()
        assert run.service.progress(RUN).peers[0].tokens == 1000, "so far it is its own word"
        await run.all_tell()
        assert run.credited == [100, 200, 300]
        run.assert_sums_are_those_of_the_receipts()


async def test_who_tells_lies_about_the_others_is_outvoted(tmp_path: Path) -> None:
    def robs(roster: coordinator_pb2.RoundRoster) -> None:
        for member in roster.members:
            member.tokens = 10**6 if member.peer_id == run.swarm.peers[0].name else 1

    async with told_run(tmp_path, peers=4) as run:
        run.tellers[0].distorts = robs
        await run.swarm.round()
        await run.all_tell()
        await run.all_tell()  # two told different things, so the others are asked too
        assert run.credited == [100, 200, 300, 400]
        run.assert_sums_are_those_of_the_receipts()


async def test_who_is_silent_about_itself_is_credited_by_the_others(tmp_path: Path) -> None:
    """A peer whose journal was lost, or that comes back to a coordinator that lost its disk."""
    async with told_run(tmp_path) as run:
        await run.swarm.round()
        silent, *others = run.tellers
        for teller in others * 2:
            await teller.tells()
        await silent.reporter.send()
        assert run.credited == [100, 200, 300]


async def test_after_an_outage_rounds_are_observed_as_far_back_as_peers_remember(
    tmp_path: Path,
) -> None:
    async with told_run(tmp_path) as run:
        for _ in range(9):
            await run.swarm.round()
        for _ in range(4):
            await run.all_tell()
        assert run.credited == [900, 1800, 2700]
        run.assert_sums_are_those_of_the_receipts()
