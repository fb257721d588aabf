"""From what peers tell of a round to what each of them is credited with: its receipt. Pure.

There is one receipt for each (round, peer). A peer's own word is a claim. What others tell of the
round's manifest goes before it; what nobody else told of a peer is its own word only. Of
different rosters for one attempt that one counts whose digest more peers reported, then the one
that more peers told, then the one that credits less. So the receipts follow from all that was
told, and not from the order in which it came.

Merged tokens are those that the run counts: all that a member claimed, if its work is in half of
the vector or more, else none. So the receipts of a round add up to what it added to the run.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from coordinator.domain import Outcome, Receipt
from coordinator.rosters import Roster

KEPT_WORDS = 20_000
"""Of one run's peers on its newest rounds, in memory; about 600 bytes each."""
NO_MEMBER = "left out: no member of this round, as others tell"
NO_WORK = "no inner work yet"
"""What peers say of a member that has only listened."""
NOT_MISSED = frozenset({NO_MEMBER, NO_WORK})


@dataclass(frozen=True)
class Change:
    """A receipt that is new, or says something else now."""

    before: Receipt | None
    after: Receipt


@dataclass
class Credit:
    """The sums of a peer's receipts."""

    tokens: int = 0
    """Merged,"""
    observed_tokens: int = 0
    """and of them those that others told of."""
    rounds: int = 0
    """That its work is in,"""
    missed: int = 0
    """and those in which it was a member, and its work is not."""
    last_missed: tuple[int, str] = (0, "")
    """The newest of them, and why."""

    def add(self, receipt: Receipt, sign: int) -> None:
        """Count a receipt; sign -1 takes it back."""
        self.tokens += sign * receipt.merged_tokens
        self.observed_tokens += sign * receipt.merged_tokens * receipt.observed
        if receipt.included:
            self.rounds += sign
            return
        if receipt.reason in NOT_MISSED:
            return
        self.missed += sign
        if sign > 0 and receipt.round >= self.last_missed[0]:
            self.last_missed = (receipt.round, receipt.reason)
        elif sign < 0 and receipt.round == self.last_missed[0]:
            self.last_missed = (0, "")  # the one before it is not looked up


NO_CREDIT = Credit()


@dataclass(frozen=True)
class _Word:
    """What a peer said of its own part in a round."""

    attempt: bytes
    digest: bytes
    tokens: int
    included: bool
    reason: str


@dataclass(frozen=True)
class _Claim:
    """What a receipt may say. The greatest `weight` counts."""

    attempt: bytes
    claimed: int
    merged: int
    included: bool
    reason: str
    observed: bool
    witnesses: int
    tellers: int = 0

    @property
    def weight(self) -> tuple[int, int, int, int, bytes, str]:
        return (
            self.witnesses, self.tellers, -self.merged, -self.claimed, self.attempt, self.reason,
        )  # fmt: skip


@dataclass(eq=False)
class _Round:
    """All that was told of the members of one round."""

    at: float
    words: dict[str, _Word] = field(default_factory=dict)
    told: dict[Roster, set[str]] = field(default_factory=dict)
    """By roster, who told it."""
    recalled: dict[str, Receipt] = field(default_factory=dict)
    """Observed before this round's evidence was let go of."""
    receipts: dict[str, Receipt] = field(default_factory=dict)
    witnesses: Counter[tuple[bytes, bytes]] = field(default_factory=Counter)
    """By attempt and digest, peers that reported them."""

    counted: int = 0
    """Words, when they were last counted."""

    def recount(self) -> int:
        """How many words came since the last count."""
        before, entries = self.counted, sum(len(roster.members) for roster in self.told)
        self.counted = len(self.words) + len(self.recalled) + entries
        return self.counted - before

    def recall(self, receipt: Receipt) -> None:
        self.receipts[receipt.peer_id] = receipt
        if receipt.observed:
            self.recalled[receipt.peer_id] = receipt
        else:
            self.words[receipt.peer_id] = _Word(
                receipt.attempt, b"", receipt.claimed_tokens, receipt.included, receipt.reason
            )

    def hear(self, outcome: Outcome) -> set[str]:
        """Whose receipts may change by a peer's own word; the first one stands."""
        word = _Word(
            outcome.attempt, outcome.digest, outcome.own_tokens, outcome.included, outcome.reason
        )
        known = self.words.setdefault(outcome.peer_id, word)
        if known is not word and (known.digest or known.attempt != word.attempt):
            return set()
        self.words[outcome.peer_id] = word
        self.witnesses[word.attempt, word.digest] += 1
        # with one roster at most, more witnesses change nobody else's
        return {outcome.peer_id} | (self.members if len(self.told) > 1 else set())

    def tell(self, teller: str, roster: Roster) -> set[str]:
        """Whose receipts may change: everybody who has to do with the same attempt."""
        self.told.setdefault(roster, set()).add(teller)
        attempt = roster.attempt
        members = (it.members for it in self.told if it.attempt == attempt)
        return (
            {entry.peer_id for entries in members for entry in entries}
            | {name for name, word in self.words.items() if word.attempt == attempt}
            | {name for name, it in self.recalled.items() if it.attempt == attempt}
        )

    @property
    def named(self) -> set[str]:
        """Everybody of whom something was told."""
        return self.members | self.words.keys() | self.recalled.keys()

    @property
    def members(self) -> set[str]:
        return {entry.peer_id for roster in self.told for entry in roster.members}

    def receipt(self, round_: int, peer_id: str) -> Receipt:
        claim = self._claim(peer_id)
        return Receipt(
            peer_id=peer_id,
            round=round_,
            attempt=claim.attempt,
            claimed_tokens=claim.claimed,
            merged_tokens=claim.merged,
            included=claim.included,
            reason=claim.reason,
            observed=claim.observed,
            witnesses=claim.witnesses,
            at=self.at,
        )

    def _claim(self, peer_id: str) -> _Claim:
        """What counts of all that was told of one peer, who is named somewhere."""
        observed = [self._entry(peer_id, roster) for roster in self._best_rosters(peer_id)]
        claims = [claim for claim in observed if claim is not None]
        if (recalled := self.recalled.get(peer_id)) is not None:
            claims.append(_recalled(recalled))
        if claims:
            return max(claims, key=lambda it: it.weight)
        word = self.words.get(peer_id)
        if word is None:
            # by a roster that was outvoted; or by none but its own, and that makes no receipt
            named = [it for it, tellers in self.told.items() if it.entry(peer_id)
                     and tellers - {peer_id}]  # fmt: skip
            attempt = min((it.attempt for it in named), default=b"")
            return _Claim(attempt, 0, 0, False, NO_MEMBER, True, 0)
        witnesses = self.witnesses[word.attempt, word.digest]
        if any(roster.attempt == word.attempt for roster in self._best_rosters(peer_id)):
            return _Claim(word.attempt, word.tokens, 0, False, NO_MEMBER, True, witnesses)
        merged = word.tokens if word.included else 0
        return _Claim(
            word.attempt, word.tokens, merged, word.included, word.reason, False, witnesses
        )

    def _best_rosters(self, peer_id: str) -> Iterable[Roster]:
        """For each attempt, the roster that counts of those that others than this peer told."""
        best: dict[bytes, tuple[int, int, int, Roster]] = {}
        for roster, tellers in self.told.items():
            if tellers - {peer_id}:
                witnesses = self._witnesses(roster)
                weighed = (witnesses, len(tellers), -_credit(roster, peer_id), roster)
                best[roster.attempt] = max(weighed, best.get(roster.attempt, weighed))
        return [roster for *_, roster in best.values()]

    def _entry(self, peer_id: str, roster: Roster) -> _Claim | None:
        entry = roster.entry(peer_id)
        if entry is None:
            return None
        return _Claim(
            attempt=roster.attempt,
            claimed=entry.tokens,
            merged=entry.tokens if entry.merged else 0,
            included=entry.merged,
            reason=entry.reason,
            observed=True,
            witnesses=self._witnesses(roster),
            tellers=len(self.told[roster]),
        )

    def _witnesses(self, roster: Roster) -> int:
        return self.witnesses[roster.attempt, roster.digest]


class ReceiptBook:
    """The receipts of one run's newest rounds, as far as the evidence for them is in memory."""

    def __init__(self, kept_words: int = KEPT_WORDS) -> None:
        self._rounds: OrderedDict[int, _Round] = OrderedDict()
        self._kept = kept_words
        self._words = 0

    def knows(self, round_: int) -> bool:
        """Whether the evidence of a round is here; else `recall` it before anything is added."""
        return round_ in self._rounds

    def recall(self, round_: int, receipts: Iterable[Receipt]) -> None:
        """Take back a round's receipts, which were kept elsewhere."""
        receipts = list(receipts)
        if receipts:
            evidence = self._round(round_, min(it.at for it in receipts))
            for receipt in receipts:
                evidence.recall(receipt)

    def hear(self, outcome: Outcome, at: float) -> list[Change]:
        """A member's own word on a committed attempt; the first one for a round stands.

        at: when it came, in unix seconds.
        """
        evidence = self._round(outcome.round, at)
        return self._changes(outcome.round, evidence.hear(outcome), rewrite=False)

    def tell(self, teller: str, roster: Roster, at: float) -> list[Change]:
        """What a peer that was asked tells of a round's manifest."""
        evidence = self._round(roster.round, at)
        return self._changes(roster.round, evidence.tell(teller, roster), rewrite=True)

    def forget(self, round_: int) -> None:
        """Let go of a round's evidence."""
        evidence = self._rounds.pop(round_, None)
        self._words -= evidence.counted if evidence else 0

    def tellers(self, round_: int, attempt: bytes) -> list[str]:
        """Who told a roster of an attempt, in order of their ids."""
        evidence = self._rounds.get(round_)
        told = evidence.told.items() if evidence else ()
        return sorted(it for roster, by in told if roster.attempt == attempt for it in by)

    def rosters_told(self, round_: int, attempt: bytes) -> int:
        """Different ones for one attempt; more than one is a dispute."""
        evidence = self._rounds.get(round_)
        return sum(it.attempt == attempt for it in evidence.told) if evidence else 0

    def renewed(self, receipt: Receipt) -> Receipt:
        """A kept receipt with the witnesses that are known by now."""
        evidence = self._rounds.get(receipt.round)
        if evidence is None or receipt.peer_id not in evidence.named:
            return receipt
        now = evidence.receipt(receipt.round, receipt.peer_id)
        return replace(receipt, witnesses=max(receipt.witnesses, now.witnesses))

    def _round(self, round_: int, at: float) -> _Round:
        evidence = self._rounds.setdefault(round_, _Round(at))
        self._rounds.move_to_end(round_)
        return evidence

    def _changes(self, round_: int, peers: set[str], rewrite: bool) -> list[Change]:
        """rewrite: also those that have only gained witnesses."""
        evidence, changes = self._rounds[round_], []
        for peer_id in sorted(peers):
            before, after = evidence.receipts.get(peer_id), evidence.receipt(round_, peer_id)
            if not after.attempt or after == before:
                continue
            if rewrite or before is None or _differs(before, after):
                evidence.receipts[peer_id] = after
                changes.append(Change(before, after))
        self._words += evidence.recount()
        while self._words > self._kept and len(self._rounds) > 1:
            _, oldest = self._rounds.popitem(last=False)
            self._words -= oldest.counted
        return changes


def _credit(roster: Roster, peer_id: str) -> int:
    entry = roster.entry(peer_id)
    return entry.tokens if entry is not None and entry.merged else 0


def _recalled(receipt: Receipt) -> _Claim:
    return _Claim(
        attempt=receipt.attempt,
        claimed=receipt.claimed_tokens,
        merged=receipt.merged_tokens,
        included=receipt.included,
        reason=receipt.reason,
        observed=True,
        witnesses=receipt.witnesses,
        tellers=1,
    )


def _differs(before: Receipt, after: Receipt) -> bool:
    return replace(before, witnesses=0) != replace(after, witnesses=0)
