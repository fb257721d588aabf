"""Which chunks of the text a trainer was told to train on, which it has begun, what is left. Pure.

The trainer keeps one of these and its daemon another, which is told of the same lists and of the
moments at which they took effect. So both know the same, without asking.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

MAX_CHUNKS = 2**53
"""Chunks have smaller numbers than this."""
MAX_LEASE = 4096
"""Chunks in one list."""
REMEMBERED = 100_000
"""So many of the chunks begun last are told apart from those that never were."""


class LeaseQueue:
    """Inner step n of a trainer, counted from 0 at its start, trains on the chunk with index n."""

    def __init__(self) -> None:
        self._forgotten = 0
        """Inner steps whose chunks are no longer known."""
        self._chunks: list[int] = []
        """Those of the inner steps after that: begun ones first, then what is left."""
        self._given: deque[tuple[int, ...]] = deque()

    def given(self, chunks: Sequence[int]) -> None:
        """A list is on its way to the trainer; `ValueError` if it is none that may be sent."""
        if len(chunks) > MAX_LEASE:
            raise ValueError(f"{len(chunks)} chunks; at most {MAX_LEASE} may be leased at once")
        if not all(type(chunk) is int and 0 <= chunk < MAX_CHUNKS for chunk in chunks):
            raise ValueError("a lease names something that is no chunk")
        self._given.append(tuple(chunks))

    def took_effect(self, inner_steps: int) -> None:
        """The oldest list on its way replaced all but the first `inner_steps`, which had begun.

        Chunks of those are not begun again, whether the list names them or not.
        """
        begun = inner_steps - self._forgotten
        if not 0 <= begun <= len(self._chunks):
            raise ValueError(f"{inner_steps} inner steps cannot have begun")
        # the same set at both ends: it hangs on nothing but the number of inner steps
        known = set(self._chunks[max(0, begun - REMEMBERED) : begun])
        fresh = [it for it in dict.fromkeys(self._given.popleft()) if it not in known]
        forgotten = max(0, begun - REMEMBERED)
        self._chunks[begun:] = fresh
        del self._chunks[:forgotten]
        self._forgotten += forgotten

    def chunk(self, inner_step: int) -> int | None:
        """What an inner step trains on; None: nothing is leased for it."""
        index = inner_step - self._forgotten
        return self._chunks[index] if 0 <= index < len(self._chunks) else None

    def chunks_between(self, first_step: int, last_step: int) -> list[int]:
        """The chunks of the inner steps from `first_step` up to, without, `last_step`, in order.

        Of more than `REMEMBERED` inner steps, those done last.
        """
        first, last = (max(0, it - self._forgotten) for it in (first_step, last_step))
        return self._chunks[first:last]

    def left(self, inner_steps: int) -> list[int]:
        """What follows the first `inner_steps`, in order."""
        return self._chunks[max(0, inner_steps - self._forgotten) :]
