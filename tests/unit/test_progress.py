"""From reports to the progress of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from coordinator.domain import Outcome, PeerState, RunFacts, Validation
from coordinator.reports.pace import LIVE_SECONDS
from coordinator.reports.progress import ROUNDS_SHOWN, Ledger
from coordinator.reports.receipts import ReceiptBook
from coordinator.reports.tally import DIGESTS_COUNTED
from tests.reporting import DIGEST, OTHER_DIGEST, outcome, peer

NOW = 1000.0


def facts(
    peers: Iterable[PeerState] = (),
    outcomes: Iterable[Outcome] = (),
    validations: Iterable[Validation] = (),
) -> RunFacts:
    ledger = Ledger()
    for state in peers:
        ledger.see(state)
    for told in outcomes:
        ledger.add_outcome(told)
    for validation in validations:
        ledger.add_validation(validation)
    return ledger.facts(NOW)


def test_a_run_without_reports_has_no_losses_and_nothing_to_disagree_about() -> None:
    empty = facts()
    assert (empty.round, empty.tokens, empty.peers_live) == (0, 0, 0)
    assert (empty.train_loss, empty.validation_loss) == (None, None)
    assert empty.digests_agree
    assert empty.bytes_sent_per_round == 0.0


def test_silent_peers_and_peers_that_left_are_shown_but_not_live() -> None:
    run = facts(
        [
            peer("QmLive", received_at=NOW - LIVE_SECONDS + 0.1),
            peer("QmSilent", received_at=NOW - LIVE_SECONDS),
            peer("QmStopped", received_at=NOW, phase="stopped"),
            peer("QmLeft", received_at=NOW, phase="left"),
        ]
    )
    assert run.peers_live == 1
    assert {it.state.peer_id: it.live for it in run.peers} == {
        "QmLive": True,
        "QmSilent": False,
        "QmStopped": False,
        "QmLeft": False,
    }


def test_a_report_from_the_future_was_seen_just_now() -> None:
    (only,) = facts([peer(received_at=NOW + 60)]).peers
    assert only.seen_seconds_ago == 0.0
    assert only.live


def test_speed_sums_live_peers_and_the_loss_is_weighted_by_it() -> None:
    run = facts(
        [
            peer("QmFast", tokens_per_second=300.0, train_loss=2.0),
            peer("QmSlow", tokens_per_second=100.0, train_loss=4.0),
            peer("QmNew", tokens_per_second=50.0, train_loss=None),
            peer("QmGone", tokens_per_second=900.0, train_loss=9.0, received_at=0.0),
        ]
    )
    assert run.tokens_per_second == 450.0
    assert run.train_loss == pytest.approx(2.5)


def test_peers_that_train_nothing_have_no_mean_loss() -> None:
    assert facts([peer(tokens_per_second=0.0)]).train_loss is None


def test_a_round_counts_once_however_many_peers_report_it() -> None:
    run = facts(outcomes=[outcome(1, "QmAnna"), outcome(1, "QmBert"), outcome(2, "QmAnna")])
    assert (run.rounds_committed, run.rounds_void) == (2, 0)
    assert [(it.round, it.finished_by) for it in run.rounds] == [(1, 2), (2, 1)]
    assert (run.round, run.tokens) == (2, 2000)


def test_a_void_attempt_counts_once_and_each_attempt_for_itself() -> None:
    void: dict[str, Any] = {
        "committed": False,
        "included": False,
        "digest": b"",
        "reason": "nobody answered",
    }
    run = facts(
        outcomes=[
            outcome(1, "QmAnna", attempt=b"first", **void),
            outcome(1, "QmBert", attempt=b"first", **void),
            outcome(1, "QmAnna", attempt=b"second", **void),
            outcome(1, "QmAnna", attempt=b"third"),
        ]
    )
    assert (run.rounds_committed, run.rounds_void) == (1, 2)
    assert [(it.committed, it.reason, it.finished_by) for it in run.rounds] == [
        (False, "nobody answered", 2),
        (False, "nobody answered", 1),
        (True, "", 1),
    ]


@pytest.mark.parametrize("void_first", [True, False])
def test_an_attempt_that_somebody_saw_committed_is_not_void(void_first: bool) -> None:
    told = [
        outcome(1, "QmAnna", attempt=b"one", committed=False, included=False, digest=b""),
        outcome(1, "QmBert", attempt=b"one"),
    ]
    run = facts(outcomes=told if void_first else reversed(told))
    assert (run.rounds_committed, run.rounds_void) == (1, 0)
    assert [it.committed for it in run.rounds] == [True]


@pytest.mark.parametrize("member_first", [True, False])
def test_who_came_to_hold_a_rounds_state_vouches_for_it_but_not_for_how_it_went(
    member_first: bool,
) -> None:
    holder: dict[str, Any] = {"attempt": b"", "included": False, "members": 0, "seconds": 0.0}
    told = [outcome(3, "QmAnna", members=4, seconds=0.5), outcome(3, "QmBert", **holder)]
    run = facts(outcomes=told if member_first else reversed(told))
    (only,) = run.rounds
    assert (only.members, only.seconds, only.finished_by) == (4, 0.5, 2)
    assert (run.tokens, run.rounds_committed, run.digests_agree) == (3000, 1, True)


def test_attempts_without_a_name_are_told_apart_by_their_round() -> None:
    void: dict[str, Any] = {"committed": False, "included": False, "attempt": b""}
    run = facts(outcomes=[outcome(1, **void), outcome(2, **void), outcome(3, attempt=b"")])
    assert (run.rounds_committed, run.rounds_void) == (1, 2)


def test_one_differing_digest_in_any_round_is_a_disagreement_for_good() -> None:
    told = [outcome(1, "QmAnna"), outcome(1, "QmBert"), outcome(2, "QmAnna")]
    assert facts(outcomes=told).digests_agree
    told.append(outcome(1, "QmCora", digest=OTHER_DIGEST))
    told.append(outcome(3, "QmAnna"))
    run = facts(outcomes=told)
    assert not run.digests_agree
    assert [it.distinct_digests for it in run.rounds] == [2, 1, 1]


def test_rounds_may_differ_from_each_other_and_a_peer_without_a_digest_does_not_disagree() -> None:
    run = facts(
        outcomes=[
            outcome(1, "QmAnna", digest=DIGEST),
            outcome(1, "QmBert", digest=b"", included=False),
            outcome(2, "QmAnna", digest=OTHER_DIGEST),
        ]
    )
    assert run.digests_agree


def test_the_two_halves_of_a_split_swarm_may_differ_but_none_within_itself() -> None:
    halves = [
        outcome(7, "QmAnna", attempt=b"left", digest=DIGEST),
        outcome(7, "QmBert", attempt=b"right", digest=OTHER_DIGEST),
        outcome(7, "QmCora", attempt=b"", members=0, digest=OTHER_DIGEST, included=False),
    ]
    run = facts(outcomes=halves)
    assert run.digests_agree
    assert [it.distinct_digests for it in run.rounds] == [1]
    halves.append(outcome(7, "QmDora", attempt=b"left", digest=OTHER_DIGEST))
    assert not facts(outcomes=halves).digests_agree


def test_a_liar_with_many_digests_takes_little_memory() -> None:
    lies = [outcome(1, f"Qm{n}", digest=bytes([n]) * 32) for n in range(100)]
    (only,) = facts(outcomes=lies).rounds
    assert only.distinct_digests == DIGESTS_COUNTED


def test_traffic_is_the_median_over_peers_and_rounds_that_merged_their_work() -> None:
    run = facts(
        outcomes=[
            outcome(1, "QmAnna", bytes_sent=100),
            outcome(1, "QmBert", bytes_sent=300),
            outcome(2, "QmAnna", bytes_sent=500),
            outcome(2, "QmBert", bytes_sent=9_000, included=False),
            outcome(3, "QmAnna", bytes_sent=9_000, committed=False, included=False),
        ]
    )
    assert run.bytes_sent_per_round == 300.0


def test_a_peer_is_credited_with_the_sum_of_its_receipts() -> None:
    ledger, book = Ledger(), ReceiptBook()
    ledger.see(peer("QmAnna"))
    ledger.see(peer("QmBert"))
    left_out: dict[str, Any] = {"included": False, "reason": "left out: hung up"}
    for told in (outcome(1), outcome(2, own_tokens=500), outcome(1, "QmBert", **left_out)):
        for change in book.hear(told, NOW):
            ledger.correct(change)
    anna, bert = ledger.facts(NOW).peers
    assert (anna.rounds, anna.tokens, anna.rounds_missed) == (2, 800, 0)
    assert (bert.rounds, bert.tokens, bert.rounds_missed) == (0, 0, 1)
    assert (anna.last_missed_reason, bert.last_missed_reason) == ("", "left out: hung up")


def test_validation_goes_from_the_lowest_round_to_the_highest_in_any_order() -> None:
    told = [(3, 3.0), (1, 5.0), (7, 2.0), (7, 9.0), (1, 9.0)]
    run = facts(validations=[Validation("QmAnna", number, 0, loss) for number, loss in told])
    assert (run.first_validation_loss, run.validation_loss) == (5.0, 2.0)


def test_a_run_that_diverged_shows_no_newest_loss_instead_of_an_old_one() -> None:
    told = [Validation("QmAnna", 1, 0, 5.0), Validation("QmAnna", 2, 0, None)]
    run = facts(validations=told)
    assert (run.first_validation_loss, run.validation_loss) == (5.0, None)


def test_only_the_newest_rounds_are_listed_and_late_reports_find_their_place() -> None:
    last = ROUNDS_SHOWN + 50
    told = [outcome(number) for number in range(last, 0, -1)]
    run = facts(outcomes=told)
    assert run.rounds_committed == last
    assert [it.round for it in run.rounds] == list(range(last - ROUNDS_SHOWN + 1, last + 1))


def test_a_forgotten_peer_leaves_its_rounds_behind() -> None:
    ledger = Ledger()
    ledger.see(peer("QmAnna"))
    ledger.add_outcome(outcome(1, "QmAnna"))
    ledger.forget("QmAnna")
    run = ledger.facts(NOW)
    assert (run.peers, run.rounds_committed) == ((), 1)


# ---- a ledger that stays small ---------------------------------------------------------


def long_run(ledger: Ledger, rounds: int) -> None:
    for number in range(1, rounds + 1):
        attempt = b"void %d" % number
        ledger.add_outcome(outcome(number, committed=False, included=False, attempt=attempt))
        for name in ("QmAnna", "QmBob"):
            ledger.add_outcome(outcome(number, name))


def test_of_old_rounds_a_ledger_keeps_the_counts_only() -> None:
    ledger = Ledger(kept=10)
    long_run(ledger, 100)
    run = ledger.facts(NOW)
    assert (run.rounds_committed, run.rounds_void, run.tokens) == (100, 100, 100_000)
    assert [it.round for it in run.rounds if it.committed] == [96, 97, 98, 99, 100]
    assert len(ledger.void_attempts) <= 6


def test_a_late_word_about_a_round_that_was_let_go_of_counts_it_no_second_time() -> None:
    ledger = Ledger(kept=10)
    long_run(ledger, 100)
    before = ledger.facts(NOW)
    for late in (outcome(3, "QmCarl"), outcome(3, "QmCarl", committed=False, attempt=b"other")):
        ledger.add_outcome(late)
    assert ledger.facts(NOW) == before


def test_an_old_disagreement_is_not_forgotten() -> None:
    ledger = Ledger(kept=10)
    for name, digest in (("QmAnna", DIGEST), ("QmBob", OTHER_DIGEST)):
        ledger.add_outcome(outcome(1, name, digest=digest))
    long_run(ledger, 100)
    assert not ledger.facts(NOW).digests_agree
    assert ledger.newest_disagreement == 1
