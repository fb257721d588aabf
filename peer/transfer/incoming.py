"""A state's blocks as they arrive: each is checked at once, and asked for as long as it is missing.

Pure. Whoever asks whom is the caller's business.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from blake3 import blake3

from peer.averaging.lineage import Header
from peer.averaging.malformed import DIGEST_BYTES, require
from peer.averaging.state import GlobalState, block_count, block_place
from peer.averaging.vectors import empty_vector

OVERDUE_SECONDS = 2.0
"""A block under way for so long is asked for from a second donor, if that has nothing to do."""


class NotFiniteError(Exception):
    """The state itself is of no use, whoever gives it."""


class Incoming:
    """Takes the memory of the state once, when its description is known to be right."""

    def __init__(self, header: Header, digests: bytes, coverage: bytes) -> None:
        """digests: of all blocks, one after the other. `Malformed` if this is not the state's."""
        count = block_count(header.parameters)
        fits = len(digests) == DIGEST_BYTES * count
        fits = fits and blake3(digests).digest() == header.blocks_digest
        require(fits, "its block digests do not fit the state")
        require(
            blake3(coverage).digest() == header.coverage_digest,
            "its coverage does not fit the state",
        )
        self.left = count
        """Blocks that have not arrived."""
        self.total_bytes = 8 * header.parameters
        self.arrived_bytes = 0
        self._header = header
        self._digests = digests
        self._coverage = coverage
        self._vectors = empty_vector(header.parameters), empty_vector(header.parameters)
        self._has = bytearray(count)
        self._free = deque(range(count))
        self._asked: dict[int, dict[str, float]] = {}
        """By block under way, whom it was asked of, and when."""

    def size(self, index: int) -> int:
        """The bytes of a block."""
        start, stop = block_place(self._header.parameters, index)
        return stop - start

    def take(self, donor: str, most: int, donors: int, now: float) -> list[int]:
        """Missing blocks to ask a donor for, `most` at most; none while others are at all of them.

        donors: how many help; each of them shall have something to do.
        """
        share = max(1, len(self._free) // max(1, donors))
        taken = [self._free.popleft() for _ in range(min(most, share, len(self._free)))]
        for index in taken:
            self._asked[index] = {donor: now}
        return taken

    def take_overdue(self, donor: str, most: int, now: float) -> list[int]:
        """For a donor with nothing to do: what one other donor is slow to send, the later half.

        It sends the rest meanwhile.
        """
        late = [
            index
            for index, asked in self._asked.items()
            if len(asked) == 1 and donor not in asked
            and now - next(iter(asked.values())) >= OVERDUE_SECONDS
        ]  # fmt: skip
        taken = late[len(late) // 2 :][-most:]
        for index in taken:
            self._asked[index][donor] = now
        return taken

    def give_up(self, donor: str) -> None:
        """What was asked of a donor and has not come is anybody's again."""
        for index, asked in list(self._asked.items()):
            if asked.pop(donor, None) is not None and not asked:
                del self._asked[index]
                self._free.append(index)

    def put(self, index: int, data: memoryview) -> bool:
        """Keep a block's bytes if they are the right ones. Raises `NotFiniteError`."""
        at = DIGEST_BYTES * index
        expected = self._digests[at : at + DIGEST_BYTES]
        if len(data) != self.size(index) or blake3(data).digest() != expected:
            return False
        if self._has[index]:
            return True  # a second donor was faster
        values = np.frombuffer(data, "<f4")
        if not np.isfinite(values).all():
            raise NotFiniteError("the state has values that are not finite")
        first = block_place(self._header.parameters, index)[0] // 4
        half, start = divmod(first, self._header.parameters)
        self._vectors[half][start : start + values.size] = values
        self._has[index] = True
        self._asked.pop(index, None)
        self.left -= 1
        self.arrived_bytes += len(data)
        return True

    def state(self) -> GlobalState:
        """The whole state, which has all arrived; `Malformed` if it is not what it should be."""
        header = self._header
        state = GlobalState(
            header.round, header.tokens, *self._vectors, header.parents, self._coverage
        )
        require(state.digest == header.digest, "the blocks do not add up to the state")
        return state
