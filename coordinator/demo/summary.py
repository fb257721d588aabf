"""How a demo went: the facts, whether that is a success, and both in words. Pure."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from coordinator.commands.display import byte_size, text_seen
from coordinator.domain import Coverage
from coordinator.rpc.wire import coverage_of
from swarmpb.v1 import coordinator_pb2


@dataclass(frozen=True)
class PeerEnd:
    """How one peer's process ended."""

    name: str
    peer_id: str
    exit: int | None
    """Exit status, negative for a signal's number; None: it had not ended."""
    excuse: str = ""
    """What the demo did to it, if its exit status does not count."""


@dataclass(frozen=True)
class PeerSummary:
    """What one peer added to the run."""

    peer_id: str
    tokens: int
    """Merged."""
    rounds: int
    """Committed rounds that merged its work."""
    exit: int | None


@dataclass(frozen=True)
class Summary:
    """The facts of `--summary`. Losses are nats per token on held-out text, None if unknown."""

    rounds_committed: int
    rounds_void: int
    first_loss: float | None
    last_loss: float | None
    digests_agree: bool
    peers: tuple[PeerSummary, ...]
    bytes_sent_per_round: float
    model_path: str | None
    seconds: float
    coverage: Coverage | None
    """Of the training text."""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def summarize(
    progress: coordinator_pb2.RunProgress, ends: list[PeerEnd], model: str | None, seconds: float
) -> Summary:
    """Put together what the coordinator knows and how the processes ended."""
    known = {peer.peer_id: peer for peer in progress.peers}
    unheard = coordinator_pb2.PeerProgress()
    return Summary(
        rounds_committed=progress.rounds_committed,
        rounds_void=progress.rounds_void,
        first_loss=_known(progress.first_validation_loss),
        last_loss=_known(progress.validation_loss),
        digests_agree=progress.digests_agree,
        peers=tuple(
            PeerSummary(
                peer_id=end.peer_id,
                tokens=known.get(end.peer_id, unheard).tokens,
                rounds=known.get(end.peer_id, unheard).rounds,
                exit=end.exit,
            )
            for end in ends
        ),
        bytes_sent_per_round=progress.bytes_sent_per_round,
        model_path=model,
        seconds=round(seconds, 1),
        coverage=coverage_of(progress),
    )


def fault(
    progress: coordinator_pb2.RunProgress, ends: list[PeerEnd], model: str | None
) -> str | None:
    """Why this demo is no success, in one line; None if it is one."""
    failed = [f"{end.name} ({end.exit})" for end in ends if end.exit != 0 and not end.excuse]
    if progress.tokens < progress.target_tokens:
        return f"the run stands at {progress.tokens:,} of {progress.target_tokens:,} tokens"
    if not progress.digests_agree:
        odd = [str(it.round) for it in progress.rounds if it.distinct_digests > 1]
        return f"peers ended round {', '.join(odd)} with different models"
    if failed:
        return f"peers ended with an exit code other than 0: {', '.join(failed)}"
    if model is None:
        return "no model was written"
    return None


def describe(summary: Summary, ends: list[PeerEnd]) -> list[str]:
    """The few lines that end a demo."""
    digests = "agree after every round" if summary.digests_agree else "DISAGREE"
    losses = f"from {_loss(summary.first_loss)} to {_loss(summary.last_loss)}"
    rows = [
        ("loss", f"{losses} nats per token, on held-out text"),
        ("rounds", f"{summary.rounds_committed} committed, {summary.rounds_void} void"),
        ("digests", digests),
        *(
            (end.name, f"{peer.tokens:,} tokens in {_rounds(peer.rounds)}, {_ending(end)}")
            for end, peer in zip(ends, summary.peers, strict=True)
        ),
        *((("text", text_seen(summary.coverage)),) if summary.coverage else ()),
        ("traffic", f"{byte_size(summary.bytes_sent_per_round)} sent by a peer in a round"),
        ("time", f"{summary.seconds:.0f} s"),
        ("model", summary.model_path or "none"),
    ]
    return [f"{name:<9}{value}" for name, value in rows]


def _rounds(number: int) -> str:
    return "1 round" if number == 1 else f"{number} rounds"


def _ending(end: PeerEnd) -> str:
    if end.excuse:
        return end.excuse
    return "still running" if end.exit is None else f"exit code {end.exit}"


def _known(loss: float) -> float | None:
    return loss if math.isfinite(loss) else None


def _loss(loss: float | None) -> str:
    return "unknown" if loss is None else f"{loss:.3f}"
