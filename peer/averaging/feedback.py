"""Error feedback: what a lossy codec loses in one round is sent in the next.

Seide et al. 2014; Karimireddy et al., arXiv:1901.09847, algorithm 1. Both ends of the exchange
have it: each member for its own parts, each owner for its answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from peer.averaging.codecs import SLAB, Codec, FlatVector, slabs
from peer.averaging.parts import Part
from peer.averaging.vectors import empty_vector

_SENT = "sent"
_ANSWERED = "answered-"
_ANSWERED_PLACE = re.compile(rf"{_ANSWERED}(\d{{1,15}})-(\d{{1,15}})")


class Work:
    """What one member puts into one round: theta - phi, plus what earlier rounds have lost.

    Nothing is computed before it is encoded, part by part; each part once.
    """

    def __init__(
        self, base: FlatVector, cut: FlatVector, residual: FlatVector | None, lossy: bool
    ) -> None:
        self._base = base
        self._cut = cut
        self._residual = residual
        self.lost = empty_vector(base.size) if lossy else None
        """What the codec has lost of the parts in `encoded`, shape (n,)."""
        self.encoded: set[int] = set()
        """Parts, by index."""

    def shed(self) -> None:
        """Let go of the vectors."""
        self._base = self._cut = np.empty(0, np.float32)
        self._residual = self.lost = None

    def encode(self, codec: Codec, part: Part) -> bytearray:
        """The bytes of a part; `ValueError` if a value is not finite or too large."""
        out = bytearray(codec.encoded_bytes(part.values))
        view = memoryview(out)
        spare = np.empty(min(SLAB, part.values), np.float32) if self.lost is None else None
        for where in slabs(part.values):
            at = slice(part.start + where.start, part.start + where.stop)
            into = self.lost[at] if self.lost is not None else spare[: where.stop - where.start]  # type: ignore[index]  # one of the two is there
            np.subtract(self._base[at], self._cut[at], out=into)
            if self._residual is not None:
                into += self._residual[at]
            codec.encode_slab(into, where.start, view)
        self.encoded.add(part.index)
        return out


class ErrorFeedback:
    """This peer's residuals: what its own contributions and its answers as an owner have lost."""

    def __init__(self, lossy: bool) -> None:
        self._lossy = lossy
        self._sent: FlatVector | None = None
        self._answered: dict[tuple[int, int], FlatVector] = {}
        """By the place of a part; places do not overlap."""

    def forget(self) -> None:
        """Start anew, as after a state download."""
        self._sent = None
        self._answered.clear()

    def arrays(self) -> dict[str, FlatVector]:
        """All of it, by name, for a checkpoint; these vectors are not written to any more."""
        found = {f"{_ANSWERED}{start}-{stop}": it for (start, stop), it in self._answered.items()}
        return found if self._sent is None else {_SENT: self._sent, **found}

    def restore(self, arrays: Mapping[str, FlatVector], values: int) -> None:
        """Take what `arrays` gave up; what does not fit a vector of shape (values,) is left out."""
        self.forget()
        for name, vector in arrays.items():
            if vector.dtype != np.float32 or not np.isfinite(vector).all():
                continue
            if name == _SENT and vector.shape == (values,):
                self._sent = vector
            elif self._lossy and (place := _ANSWERED_PLACE.fullmatch(name)):
                start, stop = int(place[1]), int(place[2])
                if stop <= values and vector.shape == (stop - start,):
                    self._answered[start, stop] = vector

    def work(self, base: FlatVector, cut: FlatVector, lossy: bool = False) -> Work:
        """What to send for global parameters theta and local ones phi, shape (n,) each.

        lossy: with a codec that loses something, whatever the run's does.
        """
        # what a lossy one has lost before is settled by this, too
        return Work(base, cut, self._sent, self._lossy or lossy or self._sent is not None)

    def of_answers(self, part: Part) -> FlatVector | None:
        """What earlier answers for a part's values have lost, shape (values,)."""
        if not self._lossy:
            return None
        residual = np.zeros(part.values, np.float32)
        for (start, stop), lost in self._answered.items():
            first, last = max(start, part.start), min(stop, part.stop)
            if first < last:
                here = slice(first - part.start, last - part.start)
                residual[here] = lost[first - start : last - start]
        return residual

    def keep(
        self, work: Work, included: Iterable[Part], answered: Mapping[Part, FlatVector]
    ) -> None:
        """After a commit: remember what was lost in the parts that this peer's work went into.

        answered: what the codec lost of this owner's answers that the round was made of.
        """
        if work.lost is not None:
            sent = [part for part in included if part.index in work.encoded]
            if sum(part.values for part in sent) == work.lost.size:
                self._sent = work.lost
            else:
                # a copy: a checkpoint may be writing the old one
                self._sent = np.zeros_like(work.lost) if self._sent is None else self._sent.copy()
                for part in sent:
                    self._sent[part.where] = work.lost[part.where]
        for part, lost in answered.items():
            self._forget_answered(part)
            self._answered[part.start, part.stop] = lost

    def forget_used(self, included: Iterable[Part], answered: Iterable[Part]) -> None:
        """An earlier process of this peer has sent, or answered, these parts with what it owed."""
        if self._sent is not None:
            self._sent = self._sent.copy()  # a checkpoint may be writing the old one
            for part in included:
                self._sent[part.where] = 0
        for part in answered:
            self._forget_answered(part)

    def _forget_answered(self, part: Part) -> None:
        kept: dict[tuple[int, int], FlatVector] = {}
        for (start, stop), lost in self._answered.items():
            for first, last in ((start, min(stop, part.start)), (max(start, part.stop), stop)):
                if first < last:
                    kept[first, last] = lost[first - start : last - start]
        self._answered = kept
