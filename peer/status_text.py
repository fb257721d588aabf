"""`peer status` for people and for scripts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message

from peer.limits.units import bytes_text, rate_text
from peer.screen import words
from peer.screen.plain import one_line
from swarmpb.v1 import control_pb2


def describe(status: control_pb2.StatusReply, now: float) -> str:
    """Some lines: what the peer does and why, its share, the run, the machine, what limits it.

    now: unix seconds.
    """
    loss = f"{status.train_loss:.3f}" if math.isfinite(status.train_loss) else "none yet"
    share = f" of {status.target_tokens:,}" if status.target_tokens else ""
    who = status.peer_id or status.name or "this machine's"
    rows = [
        ("peer", f"{who} (process {status.pid}, up {status.uptime_seconds:.0f} s)"),
        ("doing", words.doing(status, now)),
        *(("also", reason) for reason in status.resting_reasons[1:]),
    ]
    at_work = [
        ("run", f"{status.run_id}, round {status.round}, {status.run_tokens:,}{share} tokens"),
        ("merged here", f"{status.tokens:,} tokens; {status.pending_tokens:,} not merged yet"),
        ("speed", f"{status.tokens_per_second:,.0f} tokens/s, {status.inner_steps} inner steps"),
        ("loss", f"{loss} (training, nats per token)"),
        ("next cut", _next_cut(status)),
        ("swarm", f"{status.peers} peers{_rounds(status.round_seconds)}{_share(status)}"),
        ("reach", _reach(status)),
        ("coordinator", f"{status.coordinator}, {status.coordinator_state}"),
        ("checkpoint", words.age(status.checkpoint_seconds)),
        ("network", _network(status)),
    ]
    rows += [("run", status.run_id)] if words.rests(status) else at_work
    rows += [
        ("data", words.data(status)),
        ("energy", _energy(status)),
        (
            "memory",
            f"daemon {status.daemon_rss_bytes / 2**20:.0f} MiB, "
            f"trainer {status.trainer_rss_bytes / 2**20:.0f} MiB",
        ),
        ("disk", bytes_text(status.disk_bytes) if status.disk_bytes else ""),
        ("limits", words.limits_set(status.limits)),
        *(("acting", words.acting(limit)) for limit in status.acting),
        ("membership", status.membership),
        *(("notice", notice) for notice in status.notices),
    ]
    return "\n".join(f"{name:12} {one_line(value)}" for name, value in rows if value)


def _next_cut(status: control_pb2.StatusReply) -> str:
    known = math.isfinite(status.next_cut_seconds)
    return f"in {words.duration(status.next_cut_seconds)}" if known else ""


def _network(status: control_pb2.StatusReply) -> str:
    """Rates now, and how others get through to it."""
    up, down = status.upload_bits_per_second, status.download_bits_per_second
    return f"{rate_text(up)} up, {rate_text(down)} down"


def _reach(status: control_pb2.StatusReply) -> str:
    """How others get through to it, and who says so."""
    if not status.reach_reason or words.rests(status):
        return ""
    return f"{status.reach or 'not known'}: {status.reach_reason}"


def _energy(status: control_pb2.StatusReply) -> str:
    known = words.energy(status)
    return f"{known} ({status.energy.source})" if known else ""


def _share(status: control_pb2.StatusReply) -> str:
    own, all_of_them = status.tokens_per_second, status.swarm_tokens_per_second
    known = 0 < own <= all_of_them and status.peers > 1
    return f"; {words.percent(own / all_of_them)} of its speed are this machine's" if known else ""


def facts(status: control_pb2.StatusReply) -> dict[str, Any]:
    """All fields of `StatusReply`, by their names in `control.proto`, as JSON values.

    Bytes as hex; a number that is none, and what nobody knows, as null.
    """
    return values_of(status)


def values_of(message: Message) -> dict[str, Any]:
    """A message's fields as JSON values, as above."""
    return {
        field.name: None
        if field.has_presence and not message.HasField(field.name)
        else _plain(getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
    }


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Message):
        return values_of(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(it) for it in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rounds(seconds: float) -> str:
    return f"; a round takes {seconds:.2f} s to average" if seconds else ""
