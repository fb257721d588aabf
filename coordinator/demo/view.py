"""What the demo shows while it runs: one redrawn screen in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from coordinator.commands.display import count, percent
from swarmpb.v1 import coordinator_pb2

_OTHER_LINES = 9
"""Headings, bar and space between the tables."""


@dataclass(frozen=True)
class PeerLine:
    """A peer's process, as its starter knows it."""

    name: str
    peer_id: str
    ended: str = ""
    """How it ended; empty while it runs."""


@dataclass(frozen=True)
class Happening:
    """Something worth telling, and when: seconds since the start."""

    seconds: float
    text: str


@dataclass
class Scene:
    """Everything that is shown at one moment."""

    target: int
    seconds: float = 0.0
    peers: list[PeerLine] = field(default_factory=list)
    progress: coordinator_pb2.RunProgress = field(default_factory=coordinator_pb2.RunProgress)
    happenings: list[Happening] = field(default_factory=list)

    @property
    def loss(self) -> str:
        """Validation loss so far, in words."""
        first, now = self.progress.first_validation_loss, self.progress.validation_loss
        if not self.progress.run_id or math.isnan(now):
            return "validation loss: not measured yet"
        return f"validation loss {now:.3f} (at first {first:.3f})"


class View:
    """Shows scenes on a console. A context manager: leaving it gives the terminal back."""

    def __init__(self, console: Console) -> None:
        self._console = console
        # drawn by `show` alone: no thread draws while processes are started or ended
        self._redraws = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._told_happenings = 0
        self._told_round = 0

    def __enter__(self) -> View:
        if self._redraws:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, scene: Scene) -> None:
        """Redraw the screen, or print what is new."""
        self._tell_happenings(scene)
        if self._redraws:
            self._live.update(screen(scene, self._console.height), refresh=True)
        else:
            self._tell_rounds(scene)

    def _tell_happenings(self, scene: Scene) -> None:
        if self._redraws:
            return
        for happening in scene.happenings[self._told_happenings :]:
            self._print(happening.seconds, happening.text)
        self._told_happenings = len(scene.happenings)

    def _tell_rounds(self, scene: Scene) -> None:
        progress = scene.progress
        if progress.round > self._told_round:
            self._told_round = progress.round
            share = percent(progress.tokens, scene.target)
            self._print(
                scene.seconds,
                f"round {progress.round}: {progress.tokens:,} tokens ({share}),"
                f" {progress.tokens_per_second:,.0f} tokens/s, {scene.loss}",
            )

    def _print(self, seconds: float, text: str) -> None:
        self._console.print(Text(f"{seconds:6.1f} s  {text}"), soft_wrap=True)


def screen(scene: Scene, height: int) -> RenderableType:
    """All of a scene in at most `height` lines."""
    spare = max(2, height - _OTHER_LINES - len(scene.peers) - 1)
    rounds = max(1, min(6, spare // 2))
    happenings = max(1, min(8, spare - rounds))
    return Group(
        _bar(scene),
        Text(f"{scene.progress.tokens_per_second:,.0f} tokens/s, {scene.loss}"),
        Text(),
        _peers_table(scene),
        Text(),
        _rounds_table(scene, rounds),
        Text(),
        *(_happening(it) for it in scene.happenings[-happenings:]),
    )


def _bar(scene: Scene) -> RenderableType:
    tokens = min(scene.progress.tokens, scene.target)
    row = Table.grid(padding=(0, 1), expand=True)
    for ratio in (None, 1, None, None):
        row.add_column(no_wrap=True, ratio=ratio)
    row.add_row(
        Text("tokens", style="bold"),
        ProgressBar(total=scene.target, completed=tokens),
        Text(f"{tokens:,} of {scene.target:,} ({percent(tokens, scene.target)})"),
        Text(_clock(scene.seconds)),
    )
    return row


def _peers_table(scene: Scene) -> Table:
    table = _table("peer", "id", "round", "tokens", "tok/s", "loss", "doing")
    known = {peer.peer_id: peer for peer in scene.progress.peers}
    for line in scene.peers:
        table.add_row(*_peer_row(line, known.get(line.peer_id)))
    return table


def _peer_row(line: PeerLine, known: coordinator_pb2.PeerProgress | None) -> list[Text]:
    name, short_id = Text(line.name), Text(line.peer_id[-8:] or "-")
    if known is None:
        dashes = [Text("-") for _ in range(4)]
        return [name, short_id, *dashes, Text(line.ended or "starting", style="dim")]
    speed, loss = ("-", "-") if line.ended else (count(known.tokens_per_second), _loss(known))
    return [
        name,
        short_id,
        *map(Text, (str(known.round), f"{known.tokens:,}", speed, loss)),
        _doing(line, known),
    ]


def _doing(line: PeerLine, known: coordinator_pb2.PeerProgress) -> Text:
    if line.ended:
        return Text(line.ended, style="red" if "SIGKILL" in line.ended else "dim")
    return Text(f"{known.phase}: {known.reason}" if known.reason else known.phase)


def _rounds_table(scene: Scene, most: int) -> Table:
    table = _table("round", "peers", "seconds", "tokens", "digests", "ended")
    for it in scene.progress.rounds[-most:]:
        ended = Text("committed", style="green") if it.committed else Text(f"void: {it.reason}")
        table.add_row(
            str(it.round), str(it.members), f"{it.seconds:.2f}", count(it.run_tokens),
            _digests(it), ended,
        )  # fmt: skip
    return table


def _digests(it: coordinator_pb2.RoundProgress) -> Text:
    if it.distinct_digests > 1:
        return Text("DISAGREE", style="bold red")
    return Text(f"{it.finished_by} agree" if it.committed else "-")


def _table(*headings: str) -> Table:
    """Numbers to the right, names to the left; the last column takes what is left."""
    table = Table(box=None, pad_edge=False, expand=True, header_style="bold")
    for heading in headings[:-1]:
        left = heading in ("peer", "id", "digests")
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    table.add_column(headings[-1], ratio=1, no_wrap=True, overflow="ellipsis")
    return table


def _happening(it: Happening) -> Text:
    line = Text(f"{_clock(it.seconds)}  {it.text}", no_wrap=True, overflow="ellipsis")
    line.stylize("dim", 0, len(_clock(it.seconds)))
    return line


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _loss(peer: coordinator_pb2.PeerProgress) -> str:
    return "-" if math.isnan(peer.train_loss) else f"{peer.train_loss:.3f}"
