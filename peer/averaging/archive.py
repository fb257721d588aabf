"""The last committed rounds: their manifests and the agreed bytes of their parts.

Serves them to peers that missed rounds, and fetches what this peer is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from random import Random

import anyio
import anyio.to_thread

from peer.averaging.answers import fetch_parts, send_answer
from peer.averaging.codec_names import codec_named
from peer.averaging.coverage import Coverage, after_round, decoded
from peer.averaging.coverage import united as united_coverage
from peer.averaging.history import KEPT_MANIFESTS, Branch, History
from peer.averaging.lineage import KEPT_HEADERS, Header, Lineage, header_message, parse_header
from peer.averaging.malformed import Malformed, require
from peer.averaging.manifest import (
    Manifest,
    ManifestPart,
    Merge,
    claims_of,
    manifest_message,
    merged_members,
    merged_tokens,
    parse_manifest,
)
from peer.averaging.methods import LINEAGE, MANIFEST
from peer.averaging.parts import HeldPart
from peer.averaging.roster import Roster
from peer.averaging.state import GlobalState, advance, united
from peer.swarm.interface import Network, Refused, Stream, Unreachable, call
from swarmpb.spec import RunSpec
from swarmpb.v1 import swarm_pb2

log = logging.getLogger(__name__)

FETCHED_AT_ONCE = 4
MAX_PARTS_ASKED = 4096
_REPLY_SECONDS = 5.0
_MANIFESTS_BYTES = 16 << 20
_MANIFESTS_SECONDS = 30.0
"""Both for all rounds of a replay together; downloading the state is the better way then."""


class Archive:
    """Committed rounds that this peer can serve and replay."""

    def __init__(self, network: Network, spec: RunSpec, random: Random, history: History) -> None:
        self._network = network
        self._spec = spec
        self._random = random
        self._history = history
        self._exchange_seconds = spec.round.exchange_seconds
        self._tokens_per_chunk = spec.inner.batch_size * spec.data.sequence_length

    # ---- what others ask ---------------------------------------------------------------

    async def on_manifest(
        self, caller: str, request: swarm_pb2.ManifestRequest
    ) -> swarm_pb2.Manifest:
        """Answer `MANIFEST`: the manifest that led to a state."""
        kept = self._history.round_to(request.digest)
        if kept is None:
            raise Refused("this round is not kept here any more")
        return manifest_message(kept.manifest, self._spec)

    async def on_lineage(self, caller: str, request: swarm_pb2.LineageRequest) -> swarm_pb2.Lineage:
        """Answer `LINEAGE`: the states that a state descends from, itself included."""
        most = min(request.most, KEPT_HEADERS)
        headers = self._history.lineage.newest_first(request.digest, most)
        if not headers:
            raise Refused("this state is not known here")
        return swarm_pb2.Lineage(headers=[header_message(it) for it in headers])

    async def serve_parts(
        self, find: Callable[[bytes, int], HeldPart | None], stream: Stream, patience: float
    ) -> None:
        """Answer `PART`: each part that is asked for, void if this peer has not got it."""
        request = await stream.receive(patience)
        if request is None or len(request.parts) > MAX_PARTS_ASKED:
            raise Refused(f"ask for at most {MAX_PARTS_ASKED} parts")
        for index in request.parts:
            await send_answer(stream, find(request.attempt, index), self._exchange_seconds)

    # ---- from one state to the next ----------------------------------------------------

    def outer_step(
        self,
        base: GlobalState,
        tokens: int,
        roster: Roster,
        held: Mapping[int, HeldPart],
        branch: Branch | None = None,
    ) -> GlobalState:
        """The state after these parts; parts that are not held stay as they were.

        tokens: of the run after the outer step; branch: taken in after it.
        """
        outer = self._spec.outer
        parts = [_as_agreed(held.get(part.index)) for part in roster.parts]
        claims = claims_of(roster, merged_members(roster, parts))
        coverage = after_round(decoded(base.coverage), claims)
        answers = (
            (part, held[part.index].encoded if part.index in held else None)
            for part in roster.parts
        )
        state = advance(
            base,
            codec_named(roster.codec),
            answers,
            tokens,
            outer.learning_rate,
            outer.momentum,
            coverage.encode(),
        )
        return state if branch is None else self._unite(state, coverage, branch)

    def _unite(self, state: GlobalState, coverage: Coverage, branch: Branch) -> GlobalState:
        theirs = decoded(branch.state.coverage)
        both = united_coverage(coverage, theirs, branch.common.tokens // self._tokens_per_chunk)
        return united(state, branch.state, branch.common, both.encode())

    async def foresee(
        self, base: GlobalState, roster: Roster, held: Mapping[int, HeldPart]
    ) -> GlobalState:
        """The state after a round in which everybody holds these parts."""
        parts = [_as_agreed(held.get(part.index)) for part in roster.parts]
        tokens = base.tokens + merged_tokens(roster, parts)
        return await anyio.to_thread.run_sync(self.outer_step, base, tokens, roster, held)

    async def replay(
        self,
        base: GlobalState,
        manifest: Manifest,
        held: Mapping[int, HeldPart],
        foreseen: GlobalState | None = None,
    ) -> GlobalState:
        """Do a manifest's outer step; `Malformed` if it does not lead to the agreed digest.

        foreseen: where parts at hand lead to; it spares the work if that is the agreed state.
        """
        if foreseen is not None and foreseen.digest == manifest.state_digest:
            return foreseen
        # the digest covers the tokens, so a leader that makes them up agrees with itself
        tokens = base.tokens + merged_tokens(manifest.roster, manifest.parts)
        gain = manifest.merge.gain if manifest.merge else 0
        if (manifest.roster.round, manifest.tokens) != (base.round, tokens + gain):
            raise Malformed("its round or its tokens do not follow from its roster")
        branch = self._branch_of(manifest.merge) if manifest.merge else None
        state = await anyio.to_thread.run_sync(
            self.outer_step, base, tokens, manifest.roster, held, branch
        )
        if state.digest != manifest.state_digest:
            raise Malformed("its parts do not lead to the agreed state")
        return state

    def _branch_of(self, merge: Merge) -> Branch:
        branch = self._history.branch
        if branch is None or branch.state.digest != merge.digest:
            raise Malformed("it merges the other half's state, which this peer does not hold")
        if (branch.common.digest, branch.common.tokens) != (merge.common, merge.common_tokens):
            raise Malformed("it merges the other half's state from another common round")
        return branch

    # ---- what this peer is missing -----------------------------------------------------

    async def gather(
        self,
        roster: Roster,
        parts: Sequence[ManifestPart],
        have: Mapping[int, HeldPart],
        also: tuple[str, ...] = (),
    ) -> dict[int, HeldPart]:
        """All parts that are not void with their agreed bytes, from `have` or from holders.

        also: peers to ask that finished the round later. Raises `Unreachable` if a part is not
        to be had from anybody.
        """
        gathered: dict[int, HeldPart] = {}
        missing: list[int] = []
        for index, agreed in enumerate(parts):
            mine = have.get(index)
            if mine is not None and mine.is_what(agreed.digest, agreed.included):
                gathered[index] = mine
            elif not agreed.void:
                missing.append(index)
        await self.fetch_parts(roster, parts, missing, gathered.__setitem__, also)
        if lost := set(missing) - gathered.keys():
            raise Unreachable(f"nobody who holds part {min(lost)} can be reached")
        return gathered

    async def fetch_parts(
        self,
        roster: Roster,
        parts: Sequence[ManifestPart],
        wanted: Sequence[int],
        keep: Callable[[int, HeldPart], None],
        also: tuple[str, ...] = (),
    ) -> None:
        """Get the agreed bytes of the parts `wanted`, as far as anybody can give them."""
        asked = {index: self._holders(roster, parts[index], also) for index in wanted}
        turns = anyio.Semaphore(FETCHED_AT_ONCE)

        async def fetch(holder: str, indexes: Sequence[int]) -> None:
            these, seconds = [roster.parts[it] for it in indexes], self._exchange_seconds
            async with turns:
                found = await fetch_parts(self._network, holder, roster, these, seconds)
            for index, part in found.items():
                if part.is_what(parts[index].digest, parts[index].included):
                    keep(index, part)
                    del asked[index]

        while asked:
            by_holder: dict[str, list[int]] = {}
            for index in [it for it in asked if not asked[it]]:
                del asked[index]  # nobody is left to ask
            for index, holders in asked.items():
                by_holder.setdefault(holders.pop(0), []).append(index)
            async with anyio.create_task_group() as tasks:
                for holder, indexes in by_holder.items():
                    tasks.start_soon(fetch, holder, indexes)

    def _holders(self, roster: Roster, agreed: ManifestPart, also: tuple[str, ...]) -> list[str]:
        """Whom to ask for a part, in this order."""
        holders = [roster.members[holder] for holder in agreed.holders]
        self._random.shuffle(holders)
        everybody = dict.fromkeys((*also, *holders))
        return [holder for holder in everybody if holder != self._network.peer_id]

    async def manifests(self, holder: str, digest: bytes, base: GlobalState) -> list[Manifest]:
        """The rounds that lead from `base` to the state with `digest`, oldest first.

        Raises `Unreachable` or `Refused` if `holder` cannot tell them all, `Malformed` if they do
        not start at `base`. What they say is proved by doing them.
        """
        found: list[Manifest] = []
        room, until = _MANIFESTS_BYTES, anyio.current_time() + _MANIFESTS_SECONDS
        while digest != base.digest:
            request = swarm_pb2.ManifestRequest(digest=digest)
            message = await call(self._network, holder, MANIFEST, request, _REPLY_SECONDS)
            room -= message.ByteSize()
            require(room >= 0, "its manifests are too large")
            if anyio.current_time() > until:
                raise Unreachable("it tells its manifests too slowly")
            manifest = parse_manifest(message, self._spec, base.parameters.size)
            require(manifest.state_digest == digest, "it is another round's manifest")
            require(manifest.roster.round >= base.round, "it does not lead from here to there")
            require(not found or manifest.round == found[-1].roster.round, "not the round before")
            require(len(found) < KEPT_MANIFESTS, "too many rounds")
            found.append(manifest)
            digest = manifest.roster.digest
        return found[::-1]

    async def learn_lineage(self, holder: str, digest: bytes, most: int = KEPT_HEADERS) -> None:
        """Have `holder` prove where a state comes from. Raises `Unreachable`, `Refused`,
        `Malformed`."""
        request = swarm_pb2.LineageRequest(digest=digest, most=most)
        reply = await call(self._network, holder, LINEAGE, request, _REPLY_SECONDS)
        require(len(reply.headers) <= most, "more headers than were asked for")
        self._history.lineage.add_told(digest, [parse_header(it) for it in reply.headers])


def require_lineage(manifests: Sequence[Manifest], lineage: Lineage, head: Header) -> None:
    """`Malformed` if rounds are not those that led to a state, as far as its history is known."""
    for manifest in manifests:
        digest = manifest.state_digest
        header = head if digest == head.digest else lineage.get(digest)
        if header is not None:
            told = (manifest.round, manifest.tokens)
            require((header.round, header.tokens) == told, "no such round led to that state")
            require(manifest.roster.digest in header.parents, "that state has other parents")


def _as_agreed(held: HeldPart | None) -> ManifestPart:
    """A part as a manifest would have it that everybody agrees with."""
    if held is None:
        return ManifestPart(void=True)
    return ManifestPart(False, held.digest, held.included)
