"""What peers are credited with follows from what was told, and not from who told it first."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from coordinator.domain import Outcome, Receipt
from coordinator.reports.receipts import NO_MEMBER, Change, Credit, ReceiptBook
from coordinator.rosters import Roster, RosterEntry
from tests.reporting import DIGEST, OTHER_DIGEST, entry, outcome, roster

ANNA, BERT, CLEO, DORA = PEERS = ("QmAnna", "QmBert", "QmCleo", "QmDora")

Told = Outcome | tuple[str, Roster]
"""A peer's own word, or what one tells of a manifest."""


def kept(told: Iterable[Told], book: ReceiptBook | None = None) -> dict[tuple[int, str], Receipt]:
    """The receipts that somebody holds who took all changes; each must follow on the last."""
    receipts: dict[tuple[int, str], Receipt] = {}
    for change in changes_by(told, book or ReceiptBook()):
        place = (change.after.round, change.after.peer_id)
        assert change.before == receipts.get(place), "no receipt is counted twice, or lost"
        receipts[place] = change.after
    return receipts


def changes_by(told: Iterable[Told], book: ReceiptBook) -> list[Change]:
    changes = []
    for word in told:
        if isinstance(word, Outcome):
            changes += book.hear(word, 1000.0)
        else:
            changes += book.tell(*word, 1000.0)
    return changes


def totals(receipts: Iterable[Receipt]) -> dict[str, tuple[int, int, int]]:
    """By peer with anything of it: tokens, rounds in, rounds missed."""
    credits_: defaultdict[str, Credit] = defaultdict(Credit)
    for receipt in receipts:
        credits_[receipt.peer_id].add(receipt, 1)
    sums = {name: (it.tokens, it.rounds, it.missed) for name, it in credits_.items()}
    return {name: values for name, values in sums.items() if any(values)}


def only(told: Iterable[Told], peer_id: str = ANNA) -> Receipt:
    """The one receipt of a peer."""
    (receipt,) = (it for (_, name), it in kept(told).items() if name == peer_id)
    return receipt


# ---- who tells what --------------------------------------------------------------------


def test_a_peers_own_word_is_all_there_is_until_others_tell() -> None:
    receipt = only([outcome(1, ANNA)])
    assert (receipt.claimed_tokens, receipt.merged_tokens) == (300, 300)
    assert (receipt.included, receipt.observed, receipt.witnesses) == (True, False, 1)


def test_its_own_roster_adds_nothing_to_a_peers_own_word() -> None:
    boast = roster(1, entry(ANNA, 9_000), entry(BERT))
    receipt = only([outcome(1, ANNA), (ANNA, boast)])
    assert (receipt.merged_tokens, receipt.observed) == (300, False)
    assert only([(ANNA, boast)], BERT).observed, "for the other it is somebody else's word"


def test_who_claims_ten_times_as_much_gets_what_others_tell() -> None:
    true = roster(1, entry(ANNA), entry(BERT))
    receipt = only([outcome(1, ANNA, own_tokens=3_000), outcome(1, BERT), (BERT, true)])
    assert (receipt.claimed_tokens, receipt.merged_tokens) == (300, 300)
    assert (receipt.observed, receipt.witnesses) == (True, 2)


def test_who_was_left_out_hears_why_whatever_it_says_itself() -> None:
    late = roster(1, entry(ANNA, 300, "left out: arrived 3.2 s late"), entry(BERT))
    receipt = only([outcome(1, ANNA), (BERT, late)])
    assert (receipt.claimed_tokens, receipt.merged_tokens, receipt.included) == (300, 0, False)
    assert receipt.reason == "left out: arrived 3.2 s late"


def test_who_is_no_member_of_the_round_gets_nothing() -> None:
    receipt = only([outcome(1, CLEO), (ANNA, roster(1, entry(ANNA), entry(BERT)))], CLEO)
    assert (receipt.merged_tokens, receipt.included, receipt.reason) == (0, False, NO_MEMBER)


def test_a_member_that_never_said_a_word_is_credited_all_the_same() -> None:
    """Its disk was lost, or it is away: the others know what it did."""
    receipt = only([outcome(1, BERT), (BERT, roster(1, entry(ANNA, 700), entry(BERT)))])
    assert (receipt.merged_tokens, receipt.observed) == (700, True)


def test_a_liar_about_others_is_outvoted() -> None:
    true = roster(1, entry(ANNA), entry(BERT), entry(CLEO))
    lie = roster(1, entry(ANNA, 1), entry(BERT, 1), entry(CLEO, 10**6))
    told: list[Told] = [outcome(1, name) for name in (CLEO, ANNA, BERT)]
    told += [(CLEO, lie), (ANNA, true), (BERT, true)]
    book = ReceiptBook()
    receipts = kept(told, book)
    assert totals(receipts.values()) == dict.fromkeys((ANNA, BERT, CLEO), (300, 1, 0))
    assert book.rosters_told(1, outcome(1).attempt) == 2, "and it is noticed"


def test_a_lie_with_another_digest_has_no_witnesses_but_the_liar() -> None:
    lie = roster(1, entry(ANNA, 1), entry(BERT, 1), entry(CLEO, 10**6), digest=OTHER_DIGEST)
    true = roster(1, entry(ANNA), entry(BERT), entry(CLEO))
    told: list[Told] = [outcome(1, ANNA), outcome(1, BERT)]
    told += [outcome(1, CLEO, digest=OTHER_DIGEST), (CLEO, lie), (ANNA, true)]
    assert only(told, BERT).merged_tokens == 300


def test_of_two_stories_that_are_told_as_often_the_smaller_one_counts() -> None:
    """Nobody gains by making others doubt."""
    small, large = roster(1, entry(ANNA, 300)), roster(1, entry(ANNA, 3_000))
    told: list[Told] = [outcome(1, ANNA, own_tokens=3_000), (BERT, large), (CLEO, small)]
    assert {only(order).merged_tokens for order in (told, told[::-1])} == {300}


def test_a_split_swarms_halves_have_rounds_of_the_same_number() -> None:
    other = {"attempt": b"the other half's", "digest": OTHER_DIGEST}
    told: list[Told] = [outcome(1, ANNA), outcome(1, BERT), (ANNA, roster(1, entry(BERT, 50)))]
    told += [outcome(1, CLEO, **other), (CLEO, roster(1, entry(DORA, 70), **other))]
    assert totals(kept(told).values()) == {
        ANNA: (300, 1, 0),
        BERT: (50, 1, 0),
        CLEO: (300, 1, 0),
        DORA: (70, 1, 0),
    }


# ---- any order, any repetition ---------------------------------------------------------

entries = st.builds(
    lambda tokens, merged: (tokens, 8 if merged else 0, merged),
    st.sampled_from([0, 1, 300, 3_000]),
    st.booleans(),
)
rosters = st.builds(
    lambda number, attempt, digest, members: roster(
        number,
        *(
            RosterEntry(name, tokens, parts, merged, "")
            for name, (tokens, parts, merged) in members.items()
        ),
        attempt=attempt,
        digest=digest,
    ),
    st.integers(1, 2),
    st.sampled_from([b"one", b"two"]),
    st.sampled_from([DIGEST, OTHER_DIGEST]),
    st.dictionaries(st.sampled_from(PEERS), entries, min_size=1),
)
words = st.builds(
    lambda peer_id, number, attempt, digest, tokens, included: outcome(
        number, peer_id, attempt=attempt, digest=digest, own_tokens=tokens, included=included
    ),
    st.sampled_from(PEERS),
    st.integers(1, 2),
    st.sampled_from([b"one", b"two"]),
    st.sampled_from([DIGEST, OTHER_DIGEST]),
    st.sampled_from([0, 300, 10_000]),
    st.booleans(),
)
stories = st.lists(
    st.one_of(words, st.tuples(st.sampled_from(PEERS), rosters)), max_size=14
)  # what a store lets through: of each peer one word on a round
told_lists = stories.map(
    lambda told: list(
        {(it.peer_id, it.round) if isinstance(it, Outcome) else it: it for it in told}.values()
    )
)


@given(told=told_lists, seed=st.integers(0, 10**6))
def test_any_order_and_any_repetition_come_to_the_same(told: list[Told], seed: int) -> None:
    shuffled = told + [it for it in told if not isinstance(it, Outcome)]
    Random(seed).shuffle(shuffled)
    assert totals(kept(told).values()) == totals(kept(shuffled).values())


@given(told=told_lists)
def test_nobody_is_credited_with_more_than_somebody_told(told: list[Told]) -> None:
    for (number, name), receipt in kept(told).items():
        own = [it.own_tokens for it in told
               if isinstance(it, Outcome) and (it.round, it.peer_id) == (number, name)]  # fmt: skip
        by_others = [
            entry_.tokens
            for it in told
            if isinstance(it, tuple) and it[0] != name and it[1].round == number
            for entry_ in it[1].members
            if entry_.peer_id == name
        ]
        assert receipt.merged_tokens <= receipt.claimed_tokens
        if receipt.merged_tokens:
            assert receipt.claimed_tokens in (by_others if receipt.observed else own)


@given(true=rosters, seed=st.integers(0, 1000), told_by=st.integers(2, 4))
def test_the_receipts_of_honest_peers_add_up_to_what_the_round_has_merged(
    true: Roster, seed: int, told_by: int
) -> None:
    told: list[Told] = [
        outcome(
            true.round,
            it.peer_id,
            attempt=true.attempt,
            digest=true.digest,
            included=it.merged,
            own_tokens=it.tokens if it.merged else 0,
        )
        for it in true.members
    ]
    told += [(name, true) for name in PEERS[:told_by]]
    Random(seed).shuffle(told)
    merged = sum(it.tokens for it in true.members if it.merged)
    assert sum(it.merged_tokens for it in kept(told).values()) == merged


# ---- memory ----------------------------------------------------------------------------


def restarted(told: Sequence[Told], kept_words: int) -> dict[tuple[int, str], Receipt]:
    """As `kept`, by a book that lets go of rounds and is given back what was kept of them."""
    book, receipts = ReceiptBook(kept_words), dict[tuple[int, str], Receipt]()
    for word in told:
        number = word.round if isinstance(word, Outcome) else word[1].round
        if not book.knows(number):
            book.recall(number, [it for it in receipts.values() if it.round == number])
        for change in changes_by([word], book):
            place = (change.after.round, change.after.peer_id)
            assert change.before == receipts.get(place)
            receipts[place] = change.after
    return receipts


def test_a_word_on_a_round_that_is_long_over_corrects_nothing_that_others_told() -> None:
    true = [roster(number, entry(ANNA), entry(BERT)) for number in range(1, 9)]
    told: list[Told] = []
    for it in true:
        told += [outcome(it.round, BERT), (BERT, it)]
    told += [outcome(it.round, ANNA, own_tokens=10**6) for it in true]
    assert totals(restarted(told, kept_words=4).values()) == totals(kept(told).values())


def test_memory_is_bounded_however_many_rounds_are_told() -> None:
    book = ReceiptBook(kept_words=100)
    for number in range(1, 1000):
        book.hear(outcome(number), 1000.0)
    assert Counter(book.knows(number) for number in range(1, 1000))[True] == 100


def test_a_kept_receipt_is_shown_with_the_witnesses_that_came_since() -> None:
    book = ReceiptBook()
    receipts = kept([outcome(1, ANNA), outcome(1, BERT), outcome(1, CLEO)], book)
    first = receipts[1, ANNA]
    assert (first.witnesses, book.renewed(first).witnesses) == (1, 3)
