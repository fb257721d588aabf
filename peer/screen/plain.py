"""Text that others wrote, made harmless and cut to a terminal's cells. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len, set_cell_size

_MOST_MARKS = 2
"""Accents on one letter; a tower of them would reach into other lines."""


def one_line(text: str) -> str:
    """Without line breaks and what a terminal would obey: reasons come from other peers too."""
    words = " ".join(text.split())
    return "".join(it if it.isprintable() else "?" for it in _without_towers(words))


def _without_towers(text: str) -> Iterator[str]:
    marks = 0
    for letter in text:
        marks = marks + 1 if not letter.isascii() and cell_len(letter) == 0 else 0
        if marks <= _MOST_MARKS:
            yield letter


def fitted(text: str, width: int, ascii_only: bool = False) -> str:
    """One line in at most `width` cells; what is cut off is shown as cut off."""
    if cell_len(text) <= width:
        return text
    end = "..." if ascii_only else "…"
    if width <= len(end):
        return set_cell_size(text, max(0, width))
    return set_cell_size(text, width - len(end)).rstrip() + end


def wrapped(text: str, width: int, most: int, ascii_only: bool = False) -> list[str]:
    """At most `most` lines of at most `width` cells, broken between words."""
    lines = [""]
    for word in text[: 8 * width * most].split():  # what is far beyond is cut off anyway
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > most:
        lines = [*lines[: most - 1], " ".join(lines[most - 1 :])]
    return [fitted(line, width, ascii_only) for line in lines]
