"""`peer status` for people and for scripts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message

from swarmpb.v1 import control_pb2


def describe(status: control_pb2.StatusReply) -> str:
    """A few lines: what the peer does and why, its share, the run, the machine."""
    loss = f"{status.train_loss:.3f}" if math.isfinite(status.train_loss) else "none yet"
    share = f" of {status.target_tokens:,}" if status.target_tokens else ""
    rows = [
        ("peer", f"{status.peer_id} (process {status.pid}, up {status.uptime_seconds:.0f} s)"),
        ("doing", f"{status.phase}: {status.reason}"),
        ("run", f"{status.run_id}, round {status.round}, {status.run_tokens:,}{share} tokens"),
        ("merged here", f"{status.tokens:,} tokens; {status.pending_tokens:,} not merged yet"),
        ("speed", f"{status.tokens_per_second:,.0f} tokens/s, {status.inner_steps} inner steps"),
        ("loss", f"{loss} (training, nats per token)"),
        ("swarm", f"{status.peers} peers{_rounds(status.round_seconds)}"),
        ("coordinator", f"{status.coordinator}, {status.coordinator_state}"),
        ("checkpoint", _age(status.checkpoint_seconds)),
        (
            "memory",
            f"daemon {status.daemon_rss_bytes / 2**20:.0f} MiB, "
            f"trainer {status.trainer_rss_bytes / 2**20:.0f} MiB",
        ),
    ]
    if status.membership:
        rows.append(("membership", status.membership))
    rows += [("notice", notice) for notice in status.notices]
    return "\n".join(f"{name:12} {one_line(value)}" for name, value in rows)


def _age(seconds: float) -> str:
    return f"{seconds:.0f} s ago" if math.isfinite(seconds) else "none yet"


def one_line(text: str) -> str:
    """Without line breaks and what a terminal would obey: reasons come from other peers too."""
    return "".join(it if it.isprintable() else "?" for it in " ".join(text.split()))


def facts(status: control_pb2.StatusReply) -> dict[str, Any]:
    """All fields as JSON values: bytes as hex, a number that is none as null."""
    return _values(status)


def _values(message: Message) -> dict[str, Any]:
    return {field.name: _plain(getattr(message, field.name)) for field in message.DESCRIPTOR.fields}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Message):
        return _values(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(it) for it in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rounds(seconds: float) -> str:
    return f"; a round takes {seconds:.2f} s to average" if seconds else ""
