"""What a peer remembers from round to round, whatever network it is on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from peer.averaging.attempt import Attempt
from peer.averaging.codecs import FlatVector
from peer.averaging.feedback import ErrorFeedback
from peer.averaging.lineage import Header, Lineage
from peer.averaging.links import LinkMeter
from peer.averaging.manifest import Manifest, Merge
from peer.averaging.parts import HeldPart, Part
from peer.averaging.state import GlobalState

KEPT_MANIFESTS = 64
"""Rounds whose outcome can be asked for; their parts are kept as long as there is room."""
LEAST_KEPT_PARTS = 2
SUSPECTED_CUTS = 2
"""A machine that is slow, and not gone, is then given its time again."""
BRANCH_ROUNDS = 16
"""The other half's state is let go of if most members still do not have it by then."""
MOST_VECTORS = 4
"""What the parts of rounds that somebody needs may take, in vectors of the model's size."""


@dataclass(frozen=True)
class KeptRound:
    """A committed round; `held`: the agreed bytes of its parts, empty when they had to go."""

    manifest: Manifest
    held: Mapping[int, HeldPart]

    @property
    def size(self) -> int:
        return sum(len(part.encoded) for part in self.held.values())


@dataclass(frozen=True)
class Branch:
    """The state of another half of the swarm, ready to be merged into this one's."""

    state: GlobalState
    common: Header
    """The newest state that both halves come from."""
    at_hand_since: int
    """The round that this peer had reached."""

    @property
    def merge(self) -> Merge:
        """What a manifest says of it."""
        state, common = self.state, self.common
        return Merge(state.digest, state.round, state.tokens, common.digest, common.tokens)


@dataclass
class ResumedWork:
    """Inner work from a checkpoint. Any round since then may have merged it, or a part of it."""

    base: bytes
    """Digest of the checkpoint's state."""
    work: FlatVector | None = None
    """theta - phi, shape (n,); zero where it is merged. None: there is none, or no more."""

    def take_out(self, included: Iterable[Part], shift: FlatVector) -> None:
        """Parts of it are in a round: with `shift`, the parameters lose them."""
        if self.work is None:
            return
        for part in included:
            shift[part.where] += self.work[part.where]
            self.work[part.where] = 0


class History:
    """Kept by a peer as long as it lives; `Rounds` of one network after the other use it."""

    def __init__(self, codec: str) -> None:
        self.feedback = ErrorFeedback(lossy=codec != "fp32")
        self.links = LinkMeter()
        self.lineage = Lineage()
        self.doubt: Attempt | None = None
        """The last attempt, if it ended here without its roster's decision."""
        self.resumed: ResumedWork | None = None
        self.branch: Branch | None = None
        self.suspects: dict[str, int] = {}
        """Peers that were silent of late, and for how many cuts they are not waited for long."""
        self.needed_since: Callable[[], Sequence[int]] = list
        """Rounds whose states are being downloaded here: what follows them is replayed then."""
        self._rounds: OrderedDict[bytes, KeptRound] = OrderedDict()

    def suspect(self, peers: Iterable[str]) -> None:
        """These were silent: the next cuts do not wait for them as long as for others."""
        self.suspects.update(dict.fromkeys(peers, SUSPECTED_CUTS))

    def is_suspect(self, peer_id: str) -> bool:
        """Before each cut that it is called to: whether it is to be waited for only shortly."""
        left = self.suspects.pop(peer_id, 0)
        if left > 1:
            self.suspects[peer_id] = left - 1
        return left > 0

    def arrive(self, state: GlobalState) -> None:
        """This peer is at a state now."""
        self.lineage.arrive(state.header)
        branch = self.branch
        if branch is not None and (
            self.lineage.descends(state.digest, branch.state.digest)  # else it is merged twice
            or state.round > branch.at_hand_since + BRANCH_ROUNDS
        ):
            self.branch = None

    def keep(self, manifest: Manifest, held: Mapping[int, HeldPart]) -> None:
        """Remember a committed round. The bytes of older ones go when they take too much room:
        all together no more than one vector of the model, or four while somebody needs them."""
        self._rounds[manifest.state_digest] = KeptRound(manifest, dict(held))
        while len(self._rounds) > KEPT_MANIFESTS:
            self._rounds.popitem(last=False)
        needed = min(self.needed_since(), default=manifest.round)
        vector, taken = 4 * manifest.roster.parameters, 0
        for number, (digest, kept) in enumerate(reversed(list(self._rounds.items()))):
            taken += kept.size
            most = MOST_VECTORS if kept.manifest.round > needed else 1
            if taken > most * vector and number >= LEAST_KEPT_PARTS:
                self._rounds[digest] = replace(kept, held={})

    @property
    def branch_digest(self) -> bytes:
        """Of the other half's state; empty if there is none at hand."""
        return self.branch.state.digest if self.branch else b""

    def round_to(self, digest: bytes) -> KeptRound | None:
        """The round that led to a state."""
        return self._rounds.get(digest)

    def round_of(self, attempt: bytes) -> KeptRound | None:
        """The round that an attempt led to."""
        for kept in self._rounds.values():
            if kept.manifest.roster.attempt == attempt:
                return kept
        return None

    def part(self, attempt: bytes, index: int) -> HeldPart | None:
        """A kept part, if this peer has it."""
        kept = self.round_of(attempt)
        return kept.held.get(index) if kept is not None else None
