"""Reads a running peer's settings again."""

from __future__ import annotations

from typing import Any

from peer.config import TABLES, PeerConfig
from peer.join_request import JoinRequest
from peer.limits.in_force import LimitsInForce
from swarmpb.v1 import control_pb2


def reload(request: JoinRequest, limits: LimitsInForce) -> control_pb2.ReloadReply:
    """Have the limits as they are set now hold; raises `UserError` if the settings are wrong."""
    now = request.settings_now()
    before = _flat(request.config) | {
        f"limits.{key}": value for key, value in limits.limits.model_dump().items()
    }
    changed = [key for key, value in _flat(now).items() if value != before[key]]
    limits.change(now.limits)
    return control_pb2.ReloadReply(
        taken=[key for key in changed if key.startswith("limits.")],
        at_next_start=[key for key in changed if not key.startswith("limits.")],
    )


def _flat(config: PeerConfig) -> dict[str, Any]:
    values = config.model_dump()
    tables = {name: values.pop(name) for name in TABLES}
    return values | {
        f"{name}.{key}": value for name, table in tables.items() for key, value in table.items()
    }
