"""The screen of `peer join` and `peer status --watch` as lines of a terminal. Pure.

A frame never has more lines than the terminal, nor a line that is wider. What matters most is
there on the smallest one; the curve of the loss takes the lines that are left. All that colours
say is said in words as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from peer.screen import words
from peer.screen.curve import curve
from peer.screen.plain import fitted, one_line, wrapped
from swarmpb.v1 import control_pb2

GOOD, ATTENTION, BAD, FAINT, STRONG = "green", "magenta", "red", "dim", "bold"
"""Of the terminal's own colours those that can be read on a light and on a dark background."""
_STYLES = {
    "training": "bold green", "averaging": "bold green", "syncing": "bold magenta",
    "resting": "bold magenta", "paused": "bold magenta", "leaving": "bold magenta",
    "stopped": "bold red",
}  # fmt: skip
_NAME_CELLS = 12
_WIDEST = 160
_CELL = 40
_CURVE_LINES = (3, 12)
_REASON_LINES = 3
_NOTICES = 6
_VITAL, _ESSENTIAL, _WANTED, _USEFUL, _SPARE = range(5)
"""What goes first when there are too few lines is what comes last here."""


@dataclass(frozen=True)
class Scene:
    """What is shown at one moment."""

    status: control_pb2.StatusReply
    keys: tuple[str, ...]
    """What the user can type, here and elsewhere; the most important first."""
    said: tuple[str, ...] = ()
    """What would have been written to the terminal meanwhile, the newest last."""
    trouble: str = ""
    """Why the status is old; empty: it is not."""


@dataclass(frozen=True)
class _Line:
    text: Text
    rank: int = _WANTED


def frame(
    scene: Scene, columns: int, rows: int, now: float, ascii_only: bool = False
) -> list[Text]:
    """The lines to show on a terminal of this size; now: unix seconds.

    ascii_only: the terminal knows no other letters.
    """
    page = _Page(min(columns, _WIDEST), ascii_only)
    status = scene.status
    above = [*_heading(scene, page, now), *_progress(status, page)]
    below = [*_facts(status, page), *_limits(status, page), *_notices(scene, page)]
    footer = _Line(page.line((_keys(scene, page), FAINT)), _VITAL)
    lines = _most_important([*above, _Line(Text(), _SPARE), *below, footer], rows)
    before = {id(line) for line in above}
    at = sum(id(line) in before for line in lines)
    drawn = _curve(status, page, min(rows - len(lines), _CURVE_LINES[1]))
    lines[at:at] = [_Line(line) for line in drawn]
    blank = [_Line(Text())] * (rows - len(lines))  # the footer stays at the bottom
    return [line.text for line in [*lines[:-1], *blank, *lines[-1:]]][:rows]


def _most_important(lines: list[_Line], rows: int) -> list[_Line]:
    """As many as fit, in their order."""
    kept = list(lines)
    for rank in (_SPARE, _USEFUL, _WANTED, _ESSENTIAL, _VITAL):
        for line in reversed(lines):
            if len(kept) <= rows:
                return kept
            if line.rank == rank:
                kept = [it for it in kept if it is not line]
    return kept


class _Page:
    """Makes lines that fit."""

    def __init__(self, columns: int, ascii_only: bool) -> None:
        self.columns = columns
        self.ascii_only = ascii_only

    def line(self, *pieces: tuple[str, str]) -> Text:
        """(words, style) one after the other, cut to the width of the terminal."""
        text, left = Text(), self.columns
        for words_, style in pieces:
            shown = fitted(words_, left, self.ascii_only)
            text.append(shown, style)
            left -= cell_len(shown)
        return text

    def wrapped(self, text: str, most: int, indent: int = 0) -> list[str]:
        return wrapped(text, max(1, self.columns - indent), most, self.ascii_only)

    def bar(self, share: float, width: int, style: str) -> list[tuple[str, str]]:
        """The part that is done differs from the rest by more than its colour."""
        done, rest = ("#", "-") if self.ascii_only else ("━", "─")
        known = min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0
        filled = math.floor(known * width)
        return [(done * filled, style), (rest * (width - filled), FAINT)]


# ---- the parts of the screen -------------------------------------------------------------


def _heading(scene: Scene, page: _Page, now: float) -> list[_Line]:
    status = scene.status
    up = f"up {words.duration(status.uptime_seconds)}"
    who = one_line(" ".join(it for it in ("run", status.run_id, "as", status.name) if it))
    who = fitted(who if status.name else f"run {one_line(status.run_id)}", page.columns - len(up))
    gap = " " * max(1, page.columns - cell_len(who) - len(up))
    lines = [_Line(page.line((who, STRONG), (gap, ""), (up, FAINT)))]
    if scene.trouble:
        told = page.wrapped(one_line(scene.trouble), 2)
        lines += [_Line(page.line((it, f"bold {BAD}")), _ESSENTIAL) for it in told]
    phase = one_line(status.phase)
    told = page.wrapped(words.doing(status, now), _REASON_LINES)
    head, _, rest = told[0].partition(":")
    style = _STYLES.get(phase, STRONG)
    lines.append(_Line(page.line((head, style), (f":{rest}" if rest else "", "")), _VITAL))
    lines += [_Line(page.line((it, "")), _USEFUL) for it in told[1:]]
    return lines


def _progress(status: control_pb2.StatusReply, page: _Page) -> list[_Line]:
    """How far the round and the run are, and the loss."""
    lines = []
    if not words.rests(status):
        share = status.round_progress
        when = words.next_cut(status)
        if not math.isfinite(status.next_cut_seconds):
            share = 0.0
        lines.append(_bar(page, f"round {status.round + 1}", share, when, _ESSENTIAL))
    if status.target_tokens:
        share = status.run_tokens / status.target_tokens
        done = f"{words.percent(share)} of {words.count(status.target_tokens)} tokens"
        lines.append(_bar(page, "run", share, done, _WANTED))
    if not words.rests(status):
        more = f"nats per token, inner step {words.count(status.inner_steps)}"
        lines.append(
            _Line(page.line((words.loss(status), STRONG), (f"  {more}", FAINT)), _ESSENTIAL)
        )
    return lines


def _bar(page: _Page, name: str, share: float, said: str, rank: int) -> _Line:
    said = fitted(said, max(1, page.columns // 2), page.ascii_only)
    name = fitted(name, max(1, page.columns // 3), page.ascii_only).ljust(_NAME_CELLS)
    width = page.columns - cell_len(name) - cell_len(said) - 2
    bar = page.bar(share, width, GOOD) if width >= 4 else []
    return _Line(page.line((name, FAINT), *bar, ("  " if bar else " ", ""), (said, "")), rank)


def _curve(status: control_pb2.StatusReply, page: _Page, rows: int) -> list[Text]:
    """The loss since the peer started; nothing if there is too little of it, or of the screen."""
    losses = [it.loss for it in status.losses if math.isfinite(it.loss)]
    if rows < _CURVE_LINES[0] or len(losses) < 2 or words.rests(status):
        return []
    top, bottom = f"{max(losses):.3g} ", f"{min(losses):.3g} "
    margin = max(len(top), len(bottom), _NAME_CELLS)
    if page.columns - margin < 10:
        return []
    drawn = curve(losses, page.columns - margin, rows, page.ascii_only)
    names = [top.rjust(margin), *[" " * margin] * (rows - 2), bottom.rjust(margin)]
    return [page.line((name, FAINT), (line, GOOD)) for name, line in zip(names, drawn, strict=True)]


def _facts(status: control_pb2.StatusReply, page: _Page) -> list[_Line]:
    """Figures in as many columns as there is room for."""
    facts = words.facts_of(status)
    across = max(1, min(4, page.columns // _CELL))
    width = page.columns // across
    lines = []
    for start in range(0, len(facts), across):
        pieces: list[tuple[str, str]] = []
        for fact in facts[start : start + across]:
            said = fitted(fact.words, width - _NAME_CELLS - 1, page.ascii_only)
            pieces.append((fact.name.ljust(_NAME_CELLS), FAINT))
            pieces.append((said + " " * (width - _NAME_CELLS - cell_len(said)), ""))
        rank = _ESSENTIAL if start < 2 else _WANTED if start < 6 else _USEFUL
        lines.append(_Line(page.line(*pieces), rank))
    return lines


def _limits(status: control_pb2.StatusReply, page: _Page) -> list[_Line]:
    """Which limits hold something back now, and all that are set."""
    lines = []
    for number, limit in enumerate(status.acting):
        name = "" if number else "acting"
        said = words.acting(limit)
        text = page.line((name.ljust(_NAME_CELLS), FAINT), (said, ATTENTION))
        lines.append(_Line(text, _USEFUL if number else _ESSENTIAL))
    if status.limits:
        told = page.wrapped(words.limits_set(status.limits), 2, _NAME_CELLS)
        for number, said in enumerate(told):
            name = "" if number else "limits"
            lines.append(_Line(page.line((name.ljust(_NAME_CELLS), FAINT), (said, "")), _USEFUL))
    return lines


def _notices(scene: Scene, page: _Page) -> list[_Line]:
    """What its user should know, the newest last."""
    notices = [one_line(it) for it in scene.status.notices]
    notices += [it for it in map(one_line, scene.said) if it and it not in notices]
    mark = "! "
    lines: list[_Line] = []
    for number, notice in enumerate(reversed(notices[-_NOTICES:])):
        newest = number == 0
        told = page.wrapped(notice, 2 if newest else 1, len(mark))
        shown = [page.line((mark if not at else "  ", ATTENTION), (it, ""))
                 for at, it in enumerate(told)]  # fmt: skip
        rank = _WANTED if newest else _SPARE
        lines = [*(_Line(it, rank) for it in shown), *lines]
    return lines


def _keys(scene: Scene, page: _Page) -> str:
    """As many as fit."""
    between = " | " if page.ascii_only else " · "
    for number in range(len(scene.keys), 1, -1):
        if cell_len(told := between.join(scene.keys[:number])) <= page.columns:
            return told
    return "".join(scene.keys[:1])


def plain_text(lines: Sequence[Text]) -> str:
    """A frame without colours."""
    return "\n".join(line.plain.rstrip() for line in lines)
