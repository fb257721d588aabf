"""The limits that are set, as their user would write them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from peer.limits.settings import Limits
from peer.limits.units import bytes_text, rate_text, seconds_text, share_text

_WORDS: Mapping[str, Callable[[Any], str]] = {
    "processor": share_text,
    "memory": bytes_text,
    "accelerator_memory": bytes_text,
    "accelerator": share_text,
    "disk": bytes_text,
    "upload": rate_text,
    "download": rate_text,
    "data_per_month": bytes_text,
    "idle_after": seconds_text,
    "max_temperature": lambda degrees: f"{degrees:g} °C",
    "not_while": ", ".join,
}
_ALWAYS_SET = frozenset({"niceness", "io"})
"""They hold nothing back from training; `peer config` shows them."""


def limits_set(limits: Limits) -> dict[str, str]:
    """The value of each limit that is set, by its name in the settings: {"upload": "2 Mbit/s"}."""
    values = {name: getattr(limits, name) for name in Limits.model_fields}
    found = {
        name: _WORDS.get(name, str)(value)
        for name, value in values.items()
        if name not in _ALWAYS_SET and not isinstance(value, bool) and value not in (None, "", ())
    }
    return found if limits.on_battery else found | {"on_battery": "no"}
