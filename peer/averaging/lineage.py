"""Where a state comes from: headers that name their parents, as commits do.

A header hashes to its state's digest and holds its parents' digests, so whoever trusts a digest can
check all the history that a stranger tells of it. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush

from blake3 import blake3

from peer.averaging.malformed import DIGEST_BYTES, require
from swarmpb.v1 import swarm_pb2

MAX_PARENTS = 2
"""A round has one; where two halves of a split swarm were merged, there are two."""
KEPT_HEADERS = 4096
"""About a megabyte; two swarms that were apart for more rounds are strangers."""


@dataclass(frozen=True)
class Header:
    """All of a state but its values."""

    round: int
    tokens: int
    parameters: int
    """Length of the flat vector."""
    parents: tuple[bytes, ...]
    """Digests; none for the first state of a run."""
    coverage_digest: bytes
    blocks_digest: bytes
    """BLAKE3 over the digests of all blocks of values."""
    digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        numbers = struct.pack("<QQQQ", self.round, self.tokens, self.parameters, len(self.parents))
        content = (numbers, *self.parents, self.coverage_digest, self.blocks_digest)
        object.__setattr__(self, "digest", blake3(b"".join(content)).digest())


def header_message(header: Header) -> swarm_pb2.StateHeader:
    """What messages say of a header."""
    return swarm_pb2.StateHeader(
        round=header.round,
        tokens=header.tokens,
        parameters=header.parameters,
        parents=header.parents,
        coverage_digest=header.coverage_digest,
        blocks_digest=header.blocks_digest,
    )


def parse_header(message: swarm_pb2.StateHeader) -> Header:
    """Check a header; `Malformed` names the first broken rule."""
    parents = tuple(message.parents)
    require(len(parents) <= MAX_PARENTS, f"{len(parents)} parents")
    digests = (*parents, message.coverage_digest, message.blocks_digest)
    require(all(len(it) == DIGEST_BYTES for it in digests), "a digest has no 32 bytes")
    require(max(message.round, message.tokens, message.parameters) < 2**62, "a number too large")
    return Header(
        message.round, message.tokens, message.parameters, parents,
        message.coverage_digest, message.blocks_digest,
    )  # fmt: skip


class Lineage:
    """The newest headers of a peer's own states and of those that it has heard of."""

    def __init__(self, headers: Iterable[Header] = ()) -> None:
        self._headers: dict[bytes, Header] = {}
        self._own = b""
        for header in headers:
            self.add(header)

    def arrive(self, header: Header) -> None:
        """Remember this peer's own state; nothing that others tell drives its history out."""
        self._own = header.digest
        self.add(header)

    def add(self, header: Header) -> None:
        """Remember a header; the oldest rounds go."""
        self._headers[header.digest] = header
        if len(self._headers) > 3 * KEPT_HEADERS:
            own = {it.digest: it for it in self.newest_first(self._own)}
            others = [it for it in self._headers.values() if it.digest not in own]
            others.sort(key=lambda it: it.round)
            self._headers = own | {it.digest: it for it in others[-KEPT_HEADERS:]}

    def add_told(self, head: bytes, told: Iterable[Header]) -> None:
        """Remember those headers that `head` descends from; what does not follow is dropped."""
        by_digest = {it.digest: it for it in told}
        known = self._headers | by_digest
        for digest in reachable(head, by_digest):
            if _follows(by_digest[digest], known):
                self.add(by_digest[digest])

    def get(self, digest: bytes) -> Header | None:
        return self._headers.get(digest)

    def descends(self, head: bytes, ancestor: bytes) -> bool:
        """Whether `ancestor` is `head` or one of its known ancestors."""
        return head == ancestor or ancestor in self.before(head)

    def before(self, head: bytes) -> set[bytes]:
        """All known ancestors of a state, and the parents that the oldest of them name."""
        known = reachable(head, self._headers)
        return {parent for it in known for parent in self._headers[it].parents}

    def recent(self, head: bytes, most: int) -> tuple[bytes, ...]:
        """Digests of states that `head` descends from: its parents, merged halves, the newest."""
        header = self._headers.get(head)
        if header is None:
            return ()
        newest = self.newest_first(head, most + 1)
        # a half that was taken in looks for its own state here, and may be a few rounds late
        merged = [it for one in newest if len(one.parents) > 1 for it in one.parents][: most // 2]
        older = (it.digest for it in newest[1:])
        return tuple(dict.fromkeys((*header.parents, *merged, *older)))[:most]

    def newest_first(self, head: bytes, most: int = KEPT_HEADERS) -> list[Header]:
        """The headers of a state and of its ancestors, as many as are known and wanted."""
        found: list[Header] = []
        ahead = [(-it.round, it.digest) for it in (self._headers.get(head),) if it]
        seen = {head}
        while ahead and len(found) < most:  # a header's round is later than its parents'
            header = self._headers[heappop(ahead)[1]]
            found.append(header)
            for parent in header.parents:
                if parent in self._headers and parent not in seen:
                    seen.add(parent)
                    heappush(ahead, (-self._headers[parent].round, parent))
        return found

    def common(self, one: bytes, other: bytes) -> Header | None:
        """The newest state that both come from; None if none is known."""
        both = reachable(one, self._headers) & reachable(other, self._headers)
        headers = [self._headers[it] for it in both]
        return max(headers, key=lambda it: (it.round, it.tokens, it.digest), default=None)


def _follows(header: Header, known: Mapping[bytes, Header]) -> bool:
    """Whether a header's round is the one after its parents', as far as those are known.

    A made-up history cannot leap ahead: each of its rounds takes a header.
    """
    parents = [known[it].round for it in header.parents if it in known]
    return not parents or header.round == 1 + max(parents)


def reachable(head: bytes, headers: Mapping[bytes, Header]) -> set[bytes]:
    """The digests in `headers` that `head` descends from, itself included."""
    found: set[bytes] = set()
    ahead = [head]
    while ahead:
        digest = ahead.pop()
        if digest in headers and digest not in found:
            found.add(digest)
            ahead.extend(headers[digest].parents)
    return found
