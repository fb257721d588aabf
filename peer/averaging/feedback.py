"""Error feedback: what a lossy codec loses in one round is sent in the next.

Seide et al. 2014; Karimireddy et al., arXiv:1901.09847, algorithm 1. Both ends of the exchange
have it: each member for its own parts, each owner for its answers.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from peer.averaging.codecs import FlatVector
from peer.averaging.exchange import Exchange
from peer.averaging.parts import Part


class ErrorFeedback:
    """This peer's residuals, two vectors of shape (n,) for a lossy codec, none for an exact one."""

    def __init__(self, lossy: bool) -> None:
        self._lossy = lossy
        self._sent: FlatVector | None = None
        self._answered: FlatVector | None = None

    def forget(self) -> None:
        """Start anew, as after a state download."""
        self._sent = self._answered = None

    def payload(self, gradient: FlatVector) -> FlatVector:
        """What to send for a pseudo-gradient of shape (n,); may reuse its memory."""
        if not self._lossy:
            return gradient
        if self._sent is None:
            self._sent, self._answered = np.zeros_like(gradient), np.zeros_like(gradient)
        gradient += self._sent
        return gradient

    def of_answers(self, part: Part) -> FlatVector | None:
        """What earlier answers for a part have lost, shape (values,); call `payload` first."""
        return None if self._answered is None else self._answered[part.where]

    def keep(self, exchange: Exchange, included: Iterable[Part], own_part: Part | None) -> None:
        """After a commit: remember what was lost in the parts that this peer's work went into."""
        if self._sent is None or self._answered is None:
            return
        for part in included:
            sent = exchange.sent_values.get(part.index)
            if sent is not None:
                self._sent[part.where] = exchange.payload[part.where] - sent
        owner = exchange.owner
        if own_part is not None and owner is not None and owner.new_residual is not None:
            self._answered[own_part.where] = owner.new_residual
