"""A coordinator that is gone for a while, or for good with all that it knew; the run goes on."""

from __future__ import annotations

import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from peer.runtime import running
from swarmpb.v1 import coordinator_pb2
from tests.e2e.processes import (
    JOIN_SECONDS,
    LEAVE_SECONDS,
    SOON_SECONDS,
    Home,
    eventually,
    home_in,
    rounds_go_on,
    stub_of,
)
from tests.e2e.test_peers import ROUND, Swarm
from tests.tiny import tiny_spec

pytestmark = pytest.mark.timeout(400)

TOLD_SECONDS = 120.0
"""Until a coordinator that is back has heard everything: pauses between tries grow to 20 s."""

Told = set[tuple[str, int, bool, int]]
"""(peer id, committed round, whether it merged the peer's work, how many tokens of it)."""


@pytest.fixture(scope="module")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    with home_in(tmp_path_factory.mktemp("swarm")) as home:
        swarm = Swarm(home, tiny_spec(round=ROUND, stop={"tokens": 10**12}))
        yield swarm
        swarm.end()


def told_to_coordinator(home: Home) -> Told:
    """What its database holds of committed rounds, told by a peer itself or of it by others."""
    query = (
        "SELECT peer_id, words.round, coalesce(included, 0), coalesce(merged_tokens, 0) FROM words"
        " JOIN peers ON peers.id = words.peer"
        " LEFT JOIN receipts ON receipts.peer = words.peer AND receipts.round = words.round"
        " WHERE committed UNION SELECT peer_id, round, included, merged_tokens FROM receipts"
        " JOIN peers ON peers.id = receipts.peer"
    )
    with closing(sqlite3.connect(home.state / "coordinator.sqlite")) as database:
        return {(who, at, bool(merged), own) for who, at, merged, own in database.execute(query)}


def told_to_journal(folder: Path, peer_id: str) -> Told:
    """What a peer's journal holds of committed rounds."""
    with closing(sqlite3.connect(folder / "journal.sqlite")) as database:
        rows = database.execute("SELECT content FROM told WHERE sort = 0").fetchall()
    outcomes = [coordinator_pb2.RoundOutcome.FromString(content) for (content,) in rows]
    return {(peer_id, it.round, it.included, it.own_tokens) for it in outcomes if it.committed}


def lose_the_coordinator(swarm: Swarm) -> Told:
    """Kill it, and leave of all that it had nothing but its owner's key; what it had been told."""
    running_in = running(swarm.home.state)
    assert running_in is not None
    swarm.server.kill()
    told = told_to_coordinator(swarm.home)
    for folder in (swarm.home.state, running_in[1]):
        shutil.rmtree(folder)
    return told


def rounds_of(told: Told) -> set[int]:
    return {number for _, number, _, _ in told}


def missing(swarm: Swarm, wanted: Told, newest: int) -> str:
    """What the coordinator lacks of `wanted` and of all rounds up to `newest`, in words."""
    told = told_to_coordinator(swarm.home)
    gaps = set(range(1, newest + 1)) - rounds_of(told)
    # who has resumed comes to hold a round again that it has told of before: the first word
    # stands, but for a word of work that was merged there is no other
    known = {(who, number) for who, number, _, _ in told}
    lacking = {it for it in wanted - told if it[2] or it[:2] not in known}
    return f"rounds {sorted(gaps)}, words {sorted(lacking)}" if gaps or lacking else ""


def wait_until_told(swarm: Swarm, wanted: Told, newest: int) -> None:
    """Until every round up to `newest` is known, and every word of `wanted`."""
    eventually(
        lambda: not missing(swarm, wanted, newest),
        TOLD_SECONDS,
        "all that happened is told",
        lambda: missing(swarm, wanted, newest),
    )


def all_credited(swarm: Swarm) -> coordinator_pb2.RunProgress | None:
    """The run's progress, once it shows work of all three."""
    progress = swarm.progress()
    return progress if sum(it.live and it.tokens > 0 for it in progress.peers) == 3 else None


def assert_without_a_gap(swarm: Swarm) -> None:
    """As `run show` counts: as many committed rounds as the newest one's number."""

    def all_counted() -> bool:
        progress = swarm.progress()  # of one moment
        return progress.rounds_committed == progress.round

    eventually(all_counted, TOLD_SECONDS, "as many rounds as the newest says")
    assert swarm.progress().digests_agree


def test_all_that_happened_in_an_outage_is_told_afterwards(swarm: Swarm) -> None:
    swarm.make_whole()
    anna, bert, cleo = swarm.peers
    swarm.server.kill()
    rounds_go_on(swarm.peers)

    # one is killed and comes back by the addresses it has kept, that of the coordinator's among
    # them, where nobody is
    status = bert.until(lambda it: it.digest != b"", SOON_SECONDS, "a state")
    bert.kill()
    before_its_death = told_to_journal(bert.folder, status.peer_id)
    rounds_go_on([anna, cleo])
    bert.start()
    bert.err.wait_for("through the peers known here", SOON_SECONDS)
    bert.until(lambda it: it.tokens > 0, JOIN_SECONDS, "a round with its work")
    away = rounds_go_on(swarm.peers)
    # another leaves
    assert cleo.leave(signal.SIGTERM) == 0
    away |= rounds_go_on([anna, bert])

    unheard = rounds_of(before_its_death) - rounds_of(told_to_coordinator(swarm.home))
    assert unheard, "it had rounds to tell when it was killed"
    swarm.restart_server()
    wait_until_told(swarm, before_its_death, max(away))
    assert_without_a_gap(swarm)
    anna.until(
        lambda it: it.coordinator_state == "reachable", SOON_SECONDS, "the coordinator again"
    )

    # what the one that left had to tell comes with its return
    cleo.start()
    cleo.until(lambda it: it.tokens > 0, JOIN_SECONDS, "a round with its work")
    left_with = told_to_journal(cleo.folder, swarm.reported("cleo").peer_id)
    wait_until_told(swarm, {it for it in left_with if it[1] <= max(away)}, max(away))


def test_a_coordinator_that_lost_everything_gets_its_run_back_from_the_peers(swarm: Swarm) -> None:
    swarm.make_whole()
    before = eventually(lambda: all_credited(swarm), TOLD_SECONDS, "a word of each one's work")
    lost_address = swarm.server.initial_peer
    known = lose_the_coordinator(swarm)
    rounds_go_on(swarm.peers)
    swarm.restart_server()
    assert swarm.server.initial_peer != lost_address, "even its identity is another one"

    here = {it.peer_id for it in before.peers}
    eventually(
        lambda: swarm.home.run(
            "run", "show", "tiny", "--coordinator", swarm.server.address
        ).stdout.count("under way: 3 peers live"),
        TOLD_SECONDS,
        "the run, and a word from each",
    )
    wait_until_told(swarm, {it for it in known if it[0] in here}, before.round)
    assert_without_a_gap(swarm)
    after = swarm.progress()
    assert (after.round > before.round, after.tokens > before.tokens) == (True, True)
    credited = {it.peer_id: it.tokens for it in after.peers}
    robbed = {it.name: it.tokens for it in before.peers if credited[it.peer_id] < it.tokens}
    assert robbed == {}
    assert sum("it has it again" in peer.told() for peer in swarm.peers) >= 1

    # who is new finds the others through a coordinator that they have never met
    dora = swarm.peer("dora")
    swarm.peers.append(dora)
    dora.start()
    with stub_of(swarm.server.address) as stub:
        info = stub.GetRun(coordinator_pb2.GetRunRequest(run_id="tiny"))
    assert list(info.initial_peers) == [swarm.server.initial_peer]
    # whether it is in a round soon hangs on how busy the machine is: these rounds take a second
    dora.until(lambda it: it.digest != b"" and it.peers >= 4, JOIN_SECONDS, "the others' state")
    rounds_go_on([it for it in swarm.peers if it is not dora])


def test_the_first_peer_that_comes_back_brings_a_lost_run_along(swarm: Swarm) -> None:
    """Coordinator and peers went down together, and only the peers have kept their disks."""
    swarm.make_whole()
    newest = swarm.progress().round
    for peer in swarm.peers:
        peer.send(signal.SIGTERM)
    assert {peer.wait(LEAVE_SECONDS) for peer in swarm.peers} == {0}
    lose_the_coordinator(swarm)
    swarm.restart_server()

    anna, bert, *_ = swarm.peers
    anna.start()
    resumed = anna.until(lambda it: it.digest != b"", JOIN_SECONDS, "its checkpoint")
    assert resumed.round >= newest - 1, "the others may just have been a round ahead"
    bert.start()
    rounds_go_on([anna, bert], seconds=2 * JOIN_SECONDS)
    wait_until_told(swarm, set(), newest)
    assert_without_a_gap(swarm)
