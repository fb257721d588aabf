"""Runs and their progress on a terminal: readable without colour and at 80 columns."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table
from rich.text import Text

from coordinator.domain import Coverage
from coordinator.membership.run_life import NAMES
from coordinator.reports.live_peers import GONE_PHASES
from coordinator.rpc.wire import coverage_of
from swarmpb.endpoints import JoinLink
from swarmpb.v1 import coordinator_pb2, membership_pb2
from swarmpb.v1.membership_pb2 import RunState

NONE = "-"
SOURCES = {
    "round": "self-reported",
    "tokens": "self-reported",
    "tokens_per_second": "self-reported",
    "train_loss": "self-reported",
    "validation_loss": "self-reported",
    "coverage": "self-reported",
    "bytes_sent_per_round": "self-reported",
    "peers.phase": "self-reported",
    "peers.tokens_per_second": "self-reported",
    "peers.train_loss": "self-reported",
    "peers_live": "observed",
    "peers.seen_seconds_ago": "observed",
    "peers.observed_tokens": "observed",
    "peers.tokens": "derived",
    "peers.rounds": "derived",
    "rounds_committed": "derived",
    "rounds_void": "derived",
    "digests_agree": "derived",
}
"""Of the figures in a run's progress: what its peers say of themselves, what this coordinator
or several peers have seen, and what follows from both."""


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def plain(message: Message) -> dict[str, Any]:
    """A message as JSON values, all fields: bytes as hex, what there is none of as null."""
    return {
        field.name: None
        if field.has_presence and not message.HasField(field.name)
        else _plain(getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
    }


def print_runs(runs: Iterable[coordinator_pb2.RunSummary]) -> None:
    """A line for each run; how to make one if there is none."""
    table = Table(box=None, pad_edge=False)
    table.add_column("run", no_wrap=True)
    for heading in ("peers", "round", "tokens", "done"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("description")
    for run in runs:
        table.add_row(
            run.run_id,
            str(run.peers_live),
            str(run.round),
            f"{run.tokens:,}",
            percent(run.tokens, run.target_tokens),
            Text(run.description),
        )
    console = Console(highlight=False)
    if table.row_count:
        console.print(table)
    else:
        console.print("no runs yet; register one with `coordinator run create SPEC.toml`")


def print_run(info: coordinator_pb2.RunInfo, progress: coordinator_pb2.RunProgress) -> None:
    """All about one run: facts, initial peers, then its peers."""
    console = Console(highlight=False)
    for name, value in _facts(info, progress):
        # long addresses stay on one line, so that they can be copied
        console.print(Text(f"{name:<14}{value}"), soft_wrap=True)
    if progress.peers:
        console.print()
        console.print(_peers_table(progress.peers))


def print_export(facts: dict[str, Any], folder: Path) -> None:
    """Which model was written, and where."""
    held = ""
    if facts["peers"]:
        held = f", as {facts['holders']} of {facts['peers']} peers hold it"
    digest = str(facts["state_digest"])
    console = Console(highlight=False)
    console.print(
        Text(
            f"round {facts['round']}, {facts['tokens']:,} tokens, state {digest[:16]}{held}\n"
            f"the model is in {folder}"
        ),
        soft_wrap=True,
    )


@contextmanager
def progress_line(first: str, *, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """For words on how far something is: one line on a terminal that changes, else nothing."""
    console = Console(stderr=True, highlight=False)
    if quiet or not console.is_terminal:
        yield lambda words: None
        return
    with console.status(first) as status:
        yield lambda words: status.update(Text(words))


def next_steps(info: coordinator_pb2.RunInfo, link: JoinLink) -> list[str]:
    """What its owner does after a run was registered: who can join, and with what."""
    orders = membership_pb2.Orders.FromString(info.orders.orders)
    steps = []
    if orders.state == RunState.DRAFT:
        steps.append(f"it is a draft; open it with: coordinator run resume {info.run_id}")
    if orders.invite_only:
        steps.append(f"make join links with: coordinator invite create --run {info.run_id}")
    else:
        steps.append(f"join with: peer join {link}")
    return steps


def wanted_of(info: coordinator_pb2.RunInfo) -> str:
    """What a run's orders say, in words."""
    if not info.HasField("orders"):
        return "open to all; its coordinator has no charter for it"
    orders = membership_pb2.Orders.FromString(info.orders.orders)
    name = NAMES.get(orders.state, "in a state that this version does not know")
    why = f" ({orders.reason})" if orders.reason else ""
    end = f", ends at {orders.stop_tokens:,} tokens" if orders.stop_tokens else ""
    door = "by invitation" if orders.invite_only else "open to all"
    banned = f", {len(orders.banned)} banned" if orders.banned else ""
    return f"{name}{why}{end}; {door}{banned}"


def percent(part: int, whole: int) -> str:
    """Rounded down, so that 100 % means all of it."""
    return f"{100 * part // whole} %" if whole else NONE


def text_seen(coverage: Coverage) -> str:
    """How much of the training text the run has merged, in words."""
    whole = coverage.pass_chunks
    once, again = coverage.merged_once, coverage.merged_again
    parts = f"{_share(once, whole)} seen once, {_share(again, whole)} twice or more"
    rest = f"{_share(whole - once - again, whole)} not yet"
    present = f"pass {coverage.passes + 1} of it: " if coverage.passes else ""
    return f"{present}{parts}, {rest}"


def _share(part: int, whole: int) -> str:
    """In percent: in tenths below two."""
    share = 100 * part / whole if whole else 0.0
    return f"{share:.1f} %" if 0 < share < 2 else f"{share:.0f} %"


def seconds_ago(seconds: float) -> str:
    """How long ago, in one unit."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds / length)} {unit} ago"
    return f"{int(seconds)} s ago"


def count(number: float) -> str:
    """A number in five characters or so: 987, 12.3k, 1.25M."""
    for unit in ("", "k", "M", "G", "T"):
        if number < 999.5:  # what rounds to 1000 belongs to the next unit
            return f"{number:.3g}{unit}" if unit else f"{number:.0f}"
        number /= 1000
    return f"{number:.3g}P"


def byte_size(size: float) -> str:
    """Bytes in decimal units, three digits at most before the point."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _facts(
    info: coordinator_pb2.RunInfo, progress: coordinator_pb2.RunProgress
) -> list[tuple[str, str]]:
    created = time.strftime("%Y-%m-%d %H:%M", time.localtime(info.created_at_ms / 1000))
    done = percent(progress.tokens, progress.target_tokens)
    coverage = coverage_of(progress)
    agree = "agree in every round" if progress.digests_agree else "DISAGREE, see --json"
    return [
        ("run", f"{info.run_id}, registered {created}"),
        ("wanted", wanted_of(info)),
        ("state", _state(progress)),
        (
            "round",
            f"{progress.round} ({progress.rounds_committed} committed,"
            f" {progress.rounds_void} void); digests {agree}",
        ),
        ("tokens", f"{progress.tokens:,} of {progress.target_tokens:,} ({done})"),
        ("speed", f"{progress.tokens_per_second:,.0f} tokens/s"),
        ("training", f"loss {_loss(progress.train_loss)} nats per token"),
        (
            "validation",
            f"loss {_loss(progress.first_validation_loss)} at first,"
            f" now {_loss(progress.validation_loss)}",
        ),
        *((("text", text_seen(coverage)),) if coverage else ()),
        ("traffic", f"{byte_size(progress.bytes_sent_per_round)} sent by a peer in a round"),
        *((("sources", sources(progress.peers)),) if progress.peers else ()),
        ("spec", f"sha256 {info.spec.hash.hex()}"),
        ("owner", f"ed25519 {info.spec.owner_key.hex()}"),
        *(("initial peer", address) for address in info.initial_peers),
    ]


def sources(peers: Iterable[coordinator_pb2.PeerProgress]) -> str:
    """Whose word the figures are."""
    peers = list(peers)
    tokens = sum(peer.tokens for peer in peers)
    observed = sum(peer.observed_tokens for peer in peers)
    share = f"{percent(observed, tokens)} " if tokens else ""
    return f"peers' tokens {share}told by others; speed, loss and phase each peer's own word"


def _state(progress: coordinator_pb2.RunProgress) -> str:
    if progress.tokens >= progress.target_tokens:
        return f"finished: the target is reached; {progress.peers_live} peers live"
    if progress.peers_live:
        noun = "peer" if progress.peers_live == 1 else "peers"
        return f"under way: {progress.peers_live} {noun} live"
    return f"waiting: no peer is live; start one with `peer join --run {progress.run_id}`"


def _peers_table(peers: Iterable[coordinator_pb2.PeerProgress]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("peer", no_wrap=True, max_width=14)
    for heading in ("round", "tokens", "tok/s", "loss"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("seen", no_wrap=True)
    table.add_column("phase: reason", ratio=1)
    for peer in sorted(peers, key=lambda it: (not it.live, it.seen_seconds_ago)):
        table.add_row(
            Text(peer.name or peer.peer_id[-8:]),
            str(peer.round),
            count(peer.tokens),
            count(peer.tokens_per_second),
            _loss(peer.train_loss),
            seconds_ago(peer.seen_seconds_ago),
            Text(_phase(peer)),
        )
    return table


def _phase(peer: coordinator_pb2.PeerProgress) -> str:
    if not peer.live and peer.phase not in GONE_PHASES:
        # a silent peer's last words are not its state
        return f"lost, last heard {peer.phase}"
    return f"{peer.phase}: {peer.reason}" if peer.reason else peer.phase


def _loss(loss: float) -> str:
    return NONE if math.isnan(loss) else f"{loss:.3f}"


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return plain(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    return [_plain(item) for item in value]
