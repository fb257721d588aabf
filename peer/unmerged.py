"""What this peer has trained and no round has merged yet: the account of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from peer.checkpoint_manifest import Pending
from peer.training.messages import Progress

NOTHING_DONE = Progress(inner_steps=0, tokens=0, loss_sum=0.0)


class Totals(Protocol):
    """Of a trainer, since it started."""

    @property
    def inner_steps(self) -> int: ...

    @property
    def tokens(self) -> int: ...

    @property
    def loss_sum(self) -> float: ...


class Unmerged:
    """Counts a trainer's work from where it was merged last, and what an earlier process left."""

    def __init__(self, carried: Pending | None = None) -> None:
        """For a trainer that starts; carried: of the one of an earlier process, resumed by it."""
        self.merged = NOTHING_DONE
        """The totals up to which the trainer's work is merged, or was dropped."""
        self._carried = carried or Pending()
        self.carried_chunks = tuple(self._carried.chunks)

    def at(self, totals: Totals, chunks: Iterable[int]) -> Pending:
        """What is in no round when the trainer has these totals, and these chunks done."""
        carried, merged = self._carried, self.merged
        return Pending(
            chunks=sorted(chunks),
            inner_steps=carried.inner_steps + totals.inner_steps - merged.inner_steps,
            tokens=carried.tokens + totals.tokens - merged.tokens,
            loss_sum=carried.loss_sum + totals.loss_sum - merged.loss_sum,
        )

    def tokens(self, totals: Totals) -> int:
        """The same, in tokens. Totals may be a moment older than the last cut."""
        return self._carried.tokens + max(0, totals.tokens - self.merged.tokens)

    def merge_to(self, totals: Totals) -> None:
        """All that was trained up to a cut is in a round, or dropped."""
        self.merge_carried()
        self.merged = Progress(totals.inner_steps, totals.tokens, totals.loss_sum)

    def merge_carried(self) -> None:
        """What an earlier process left is in a round, or dropped."""
        self._carried, self.carried_chunks = Pending(), ()
