"""What a peer remembers from round to round, whatever network it is on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from peer.averaging.attempt import Attempt
from peer.averaging.codecs import FlatVector
from peer.averaging.feedback import ErrorFeedback
from peer.averaging.lineage import Header, Lineage
from peer.averaging.links import LinkMeter
from peer.averaging.manifest import Manifest, Merge, included_parts
from peer.averaging.parts import HeldPart
from peer.averaging.state import GlobalState

KEPT_MANIFESTS = 64
"""Rounds whose outcome can be asked for; their parts are kept as long as there is room."""
LEAST_KEPT_PARTS = 2
BRANCH_ROUNDS = 16
"""The other half's state is let go of if most members still do not have it by then."""


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

    work: FlatVector
    """theta - phi, shape (n,); zero where it is merged."""

    def settle(self, manifest: Manifest, own: str, shift: FlatVector) -> bool:
        """Take out of `shift` what a round has merged of it; whether that counts as merged."""
        if own not in manifest.roster.members:
            return False
        member = manifest.roster.index(own)
        for part in included_parts(manifest, member):
            shift[part.where] += self.work[part.where]
            self.work[part.where] = 0
        return member in manifest.merged


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
        self._rounds: OrderedDict[bytes, KeptRound] = OrderedDict()

    def arrive(self, state: GlobalState) -> None:
        """This peer is at a state now."""
        self.lineage.add(state.header)
        branch = self.branch
        if branch is not None and (
            branch.state.digest in state.parents
            or state.round > branch.at_hand_since + BRANCH_ROUNDS
        ):
            self.branch = None

    def keep(self, manifest: Manifest, held: Mapping[int, HeldPart]) -> None:
        """Remember a committed round. The bytes of older ones go when they take too much room:
        all together no more than one vector of the model."""
        self._rounds[manifest.state_digest] = KeptRound(manifest, dict(held))
        while len(self._rounds) > KEPT_MANIFESTS:
            self._rounds.popitem(last=False)
        room = 4 * manifest.roster.parameters
        for number, (digest, kept) in enumerate(reversed(list(self._rounds.items()))):
            room -= kept.size
            if room < 0 and number >= LEAST_KEPT_PARTS:
                self._rounds[digest] = replace(kept, held={})

    @property
    def branch_digest(self) -> bytes:
        """Of the other half's state; empty if there is none at hand."""
        return self.branch.state.digest if self.branch else b""

    def round_to(self, digest: bytes) -> KeptRound | None:
        """The round that led to a state."""
        return self._rounds.get(digest)

    def part(self, attempt: bytes, index: int) -> HeldPart | None:
        """A kept part, if this peer has it."""
        for kept in self._rounds.values():
            if kept.manifest.roster.attempt == attempt:
                return kept.held.get(index)
        return None
