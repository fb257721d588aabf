"""The limits that are set, as their user would write them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from peer.limits.in_force import LimitsInForce
from peer.limits.settings import Limits
from peer.limits.units import bytes_text, rate_text, seconds_text, share_text
from swarmpb.v1 import control_pb2

_WORDS: Mapping[str, Callable[[Any], str]] = {
    "processor": share_text,
    "memory": bytes_text,
    "accelerator_memory": bytes_text,
    "accelerator": share_text,
    "disk": bytes_text,
    "disk_free": bytes_text,
    "upload": rate_text,
    "download": rate_text,
    "data_per_month": bytes_text,
    "idle_after": seconds_text,
    "max_temperature": lambda degrees: f"{degrees:g} °C",
    "not_while": ", ".join,
}
_UNSET = (None, "", ())


def limits_set(limits: Limits) -> dict[str, str]:
    """The value of each limit that is set, by its name in the settings: {"upload": "2 Mbit/s"}.

    What everybody has by default, `peer config` shows.
    """
    values = {name: getattr(limits, name) for name in Limits.model_fields}
    found = {
        name: _WORDS.get(name, str)(value)
        for name, value in values.items()
        if not isinstance(value, bool) and value not in (*_UNSET, Limits.model_fields[name].default)
    }
    return found if limits.on_battery else found | {"on_battery": "no"}


def add_limits(reply: control_pb2.StatusReply, limits: LimitsInForce) -> None:
    """Tell what is set, and what of it holds something back now."""
    for told, found in ((reply.limits, limits_set(limits.limits)), (reply.acting, limits.acting())):
        told.extend(control_pb2.ActingLimit(name=it, words=words) for it, words in found.items())
