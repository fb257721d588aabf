"""Amounts as people write them: "2 Mbit/s", "20 GB", "50%", "5 min"; read and written. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
         "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}  # fmt: skip
BITS_PER_SECOND = {"bit/s": 1, "kbit/s": 10**3, "Mbit/s": 10**6, "Gbit/s": 10**9,
                   "B/s": 8, "kB/s": 8 * 10**3, "MB/s": 8 * 10**6, "GB/s": 8 * 10**9}  # fmt: skip
SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}

_AMOUNT = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-z/%]*)")


def parse_bytes(text: str) -> int:
    """Bytes of "20 GB" or "512 MiB"; `ValueError` says what was expected."""
    return round(_parse(text, BYTES, "an amount of data such as '20 GB' or '512 MiB'"))


def parse_rate(text: str) -> float:
    """Bits per second of "2 Mbit/s" or "250 kB/s"; `ValueError` says what was expected."""
    return _parse(text, BITS_PER_SECOND, "a rate such as '2 Mbit/s' or '250 kB/s'")


def parse_seconds(text: str) -> float:
    """Seconds of "90s", "5 min", "2h" or "1d"; `ValueError` says what was expected."""
    return _parse(text, SECONDS, "a time such as '90s', '5 min' or '2h'")


def parse_share(text: str) -> float:
    """A share in (0, 1] of "50%"; `ValueError` says what was expected."""
    expected = "a share between '1%' and '100%'"
    share = _parse(text, {"%": 1}, expected) / 100
    if not 0.01 <= share <= 1:
        raise ValueError(f"expected {expected}, not {text!r}")
    return share


def parse_processors(text: str, there: int) -> float:
    """A share in (0, 1] of all processors, of "50%" or "1.5 processors"; `ValueError`."""
    expected = "a share such as '50%', or '1.5 processors'"
    units = {"%": there / 100, "processor": 1, "processors": 1}
    share = _parse(text, units, expected) / there
    if not 0.01 <= share <= 1:
        raise ValueError(f"expected {expected}, of {there} that there are, not {text!r}")
    return share


def bytes_text(amount: float) -> str:
    """In decimal units, three digits: "18.2 GB"."""
    return _text(amount, (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3), ("B", 1)))


def rate_text(bits_per_second: float) -> str:
    """In bits per second, three digits: "2 Mbit/s"."""
    units = (("Gbit/s", 10**9), ("Mbit/s", 10**6), ("kbit/s", 10**3), ("bit/s", 1))
    return _text(bits_per_second, units)


def seconds_text(seconds: float) -> str:
    """In the largest unit that fits: "5 min", "1.5 h"."""
    return _text(seconds, (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)))


def share_text(share: float) -> str:
    """In per cent: "50%"."""
    return f"{100 * share:.3g}%"


def _parse(text: str, units: Mapping[str, float], expected: str) -> float:
    found = _AMOUNT.fullmatch(text.strip())
    folded = {name.lower(): factor for name, factor in units.items()}
    # "Mb" is not "MB", but nobody means millibits: only bits and bytes are told apart by case
    if found is None or (factor := units.get(found[2], folded.get(found[2].lower()))) is None:
        raise ValueError(f"expected {expected}, not {text!r}")
    return float(found[1]) * factor


def _text(amount: float, units: tuple[tuple[str, int], ...]) -> str:
    if not math.isfinite(amount):
        return "unknown"
    name, factor = next((it for it in units if amount >= it[1]), units[-1])
    value = amount / factor
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    number = f"{value:.{digits}f}"
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {name}"
