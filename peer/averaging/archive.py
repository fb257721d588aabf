"""The last committed rounds: their manifests and the agreed bytes of their parts.

Serves them to peers that missed a round, and fetches what this peer is missing.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import anyio.to_thread

from peer.averaging.answers import fetch_part, send_answer
from peer.averaging.codec_names import codec_named
from peer.averaging.malformed import Malformed
from peer.averaging.manifest import (
    Manifest,
    ManifestPart,
    manifest_message,
    merged_tokens,
    parse_manifest,
)
from peer.averaging.methods import MANIFEST
from peer.averaging.parts import HeldPart
from peer.averaging.roster import Roster
from peer.averaging.state import GlobalState, advance
from peer.swarm.interface import Network, Refused, Stream, Unreachable, call, short
from swarmpb.spec import RunSpec
from swarmpb.v1 import swarm_pb2

log = logging.getLogger(__name__)

KEPT_ROUNDS = 2
FETCHED_AT_ONCE = 4
_REPLY_SECONDS = 5.0


@dataclass(frozen=True)
class KeptRound:
    manifest: Manifest
    held: Mapping[int, HeldPart]


class Archive:
    """Committed rounds that this peer can serve and replay."""

    def __init__(self, network: Network, spec: RunSpec, random: Random) -> None:
        self._network = network
        self._spec = spec
        self._random = random
        self._kept: OrderedDict[bytes, KeptRound] = OrderedDict()

    def keep(self, manifest: Manifest, held: Mapping[int, HeldPart]) -> None:
        """Remember a committed round; the oldest one goes."""
        self._kept[manifest.state_digest] = KeptRound(manifest, held)
        while len(self._kept) > KEPT_ROUNDS:
            self._kept.popitem(last=False)

    def part(self, attempt: bytes, index: int) -> HeldPart | None:
        """A kept part, if this peer has it."""
        for kept in self._kept.values():
            if kept.manifest.roster.attempt == attempt:
                return kept.held.get(index)
        return None

    async def on_manifest(
        self, caller: str, request: swarm_pb2.ManifestRequest
    ) -> swarm_pb2.Manifest:
        """Answer `MANIFEST`: the manifest that led to a state."""
        kept = self._kept.get(request.digest)
        if kept is None:
            raise Refused("this round is not kept here any more")
        return manifest_message(kept.manifest, self._spec)

    def outer_step(
        self, base: GlobalState, tokens: int, roster: Roster, held: Mapping[int, HeldPart]
    ) -> GlobalState:
        """The state after these parts; parts that are not held stay as they were."""
        outer = self._spec.outer
        answers = (
            (part, held[part.index].encoded if part.index in held else None)
            for part in roster.parts
        )
        return advance(
            base, codec_named(roster.codec), answers, tokens, outer.learning_rate, outer.momentum
        )

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
        # the digest covers the tokens, so a leader that makes them up agrees with itself
        merged = merged_tokens(manifest.roster, manifest.parts)
        if (manifest.roster.round, manifest.tokens) != (base.round, base.tokens + merged):
            raise Malformed("its round or its tokens do not follow from its roster")
        if foreseen is not None and foreseen.digest == manifest.state_digest:
            return foreseen
        state = await anyio.to_thread.run_sync(
            self.outer_step, base, manifest.tokens, manifest.roster, held
        )
        if state.digest != manifest.state_digest:
            raise Malformed("its parts do not lead to the agreed state")
        return state

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
        turns = anyio.Semaphore(FETCHED_AT_ONCE)

        async def fetch(index: int) -> None:
            async with turns:
                held = await self._fetch(roster, index, parts[index], also)
            if held is not None:
                keep(index, held)

        async with anyio.create_task_group() as tasks:
            for index in wanted:
                tasks.start_soon(fetch, index)

    async def catch_up(
        self, base: GlobalState, holder: str, digest: bytes
    ) -> tuple[GlobalState, Manifest]:
        """Replay the one round that leads from `base` to the state with `digest`.

        Raises `Unreachable`, `Refused` or `Malformed` if that is not possible from here.
        """
        request = swarm_pb2.ManifestRequest(round=base.round + 1, digest=digest)
        message = await call(self._network, holder, MANIFEST, request, _REPLY_SECONDS)
        manifest = parse_manifest(message, self._spec, base.parameters.size)
        if manifest.roster.digest != base.digest or manifest.state_digest != digest:
            raise Malformed("its manifest does not lead from here to there")
        held = await self.gather(manifest.roster, manifest.parts, {}, also=(holder,))
        state = await self.replay(base, manifest, held)
        self.keep(manifest, held)
        return state, manifest

    async def _fetch(
        self, roster: Roster, index: int, agreed: ManifestPart, also: tuple[str, ...]
    ) -> HeldPart | None:
        wanted = roster.parts[index]
        holders = [roster.members[holder] for holder in agreed.holders]
        self._random.shuffle(holders)
        for holder in dict.fromkeys((*also, *holders)):
            if holder == self._network.peer_id:
                continue
            try:
                seconds = self._spec.round.exchange_seconds
                part = await fetch_part(self._network, holder, roster, wanted, seconds)
            except (Unreachable, Refused, Malformed) as error:
                log.debug("part %d from %s: %s", index, short(holder), error)
                continue
            if part.is_what(agreed.digest, agreed.included):
                return part
        return None

    async def serve_part(self, held: HeldPart | None, stream: Stream) -> None:
        """Answer `PART` with a part that this peer has, or refuse."""
        if held is None:
            raise Refused("this part is not held here")
        await send_answer(stream, held, self._spec.round.exchange_seconds)


def _as_agreed(held: HeldPart | None) -> ManifestPart:
    """A part as a manifest would have it that everybody agrees with."""
    if held is None:
        return ManifestPart(void=True)
    return ManifestPart(False, held.digest, held.included)
