"""What a status says, in words short enough for a cell of the screen. Pure.

No figure is shown that nobody knows: what is not known has no words.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from peer.limits.units import bytes_text, rate_text
from peer.resting.rest import clock_text
from peer.screen.plain import one_line
from swarmpb.v1 import control_pb2

_JOULES_PER_KWH = 3.6e6
_LAST_TIME = 1e11


@dataclass(frozen=True)
class Fact:
    """A figure with its name."""

    name: str
    words: str


def facts_of(status: control_pb2.StatusReply) -> list[Fact]:
    """All that there is to say beside phase, progress and loss; the most important first."""
    limits = {limit.name: one_line(limit.words) for limit in status.limits}
    found = (
        Fact("speed", speed(status)),
        Fact("peers", peers(status)),
        Fact("upload", bandwidth(status.upload_bits_per_second, limits.get("upload", ""))),
        Fact("download", bandwidth(status.download_bits_per_second, limits.get("download", ""))),
        Fact("data", data(status)),
        Fact("energy", energy(status)),
        Fact("merged", merged(status)),
        Fact("checkpoint", checkpoint(status)),
        Fact("memory", memory(status)),
        Fact("disk", bytes_text(status.disk_bytes) if status.disk_bytes else ""),
        Fact("averaging", f"{status.round_seconds:.1f} s a round" if status.round_seconds else ""),
        Fact("coordinator", one_line(status.coordinator_state)),
    )
    return [fact for fact in found if fact.words]


def rests(status: control_pb2.StatusReply) -> bool:
    """Whether it is out of the swarm, by its user's pause or another of the user's limits."""
    return bool(status.resting_reasons) or status.phase in ("resting", "stopped")


def doing(status: control_pb2.StatusReply, now: float) -> str:
    """Phase and reason, and until when if that is known; now: unix seconds."""
    reason, end = one_line(status.reason), until(status, now)
    if end and end not in reason:
        reason = f"{reason}, {end}" if reason else end
    phase = one_line(status.phase)
    return f"{phase}: {reason}" if reason else phase


def until(status: control_pb2.StatusReply, now: float) -> str:
    """Until when it rests; now: unix seconds. Empty: it does not, or nobody knows."""
    at = status.resting_until
    return f"until {clock_text(at, now)}" if 0 < at < _LAST_TIME else ""


def speed(status: control_pb2.StatusReply) -> str:
    """Tokens per second, and this machine's share of the run's."""
    own, all_of_them = status.tokens_per_second, status.swarm_tokens_per_second
    if rests(status):
        return ""
    words = f"{count(own)} tokens/s"
    if status.peers > 1 and 0 < own <= all_of_them:
        words += f", {percent(own / all_of_them)} of run"
    return words


def peers(status: control_pb2.StatusReply) -> str:
    """How many, and how they get through to this one."""
    if rests(status) or not status.peers:
        return ""
    reach = f", {one_line(status.reach)}" if status.reach else ""
    return f"{status.peers} live{reach}"


def bandwidth(bits_per_second: float, cap: str) -> str:
    """What goes over the line now, and the most that may."""
    return rate_text(bits_per_second) + (f" of {cap}" if cap else "")


def data(status: control_pb2.StatusReply) -> str:
    """Sent and received in this month."""
    if not (status.month_bytes or status.month_budget_bytes):
        return ""
    used = bytes_text(status.month_bytes)
    if status.month_budget_bytes:
        used += f" of {bytes_text(status.month_budget_bytes)}"
    return f"{used} this month"


def energy(status: control_pb2.StatusReply) -> str:
    """Watts now; kilowatt-hours and their cost so far."""
    if not status.HasField("energy"):
        return ""
    it = status.energy
    kwh = it.joules / _JOULES_PER_KWH
    cost = f", {kwh * it.price_per_kwh:.2f} {one_line(it.currency)}" if it.price_per_kwh else ""
    used = f"{kwh:.3f}" if 0 < kwh < 1 else f"{kwh:.3g}"
    guess = "~" if it.source.startswith("estimated") else ""
    return f"{guess}{it.watts:.0f} W, {used} kWh{cost}"


def merged(status: control_pb2.StatusReply) -> str:
    """Tokens of this peer that are in the run's model, and those that are not yet."""
    if rests(status) and not status.tokens:
        return ""
    waiting = f", {count(status.pending_tokens)} not yet" if status.pending_tokens else ""
    return f"{count(status.tokens)} tokens{waiting}"


def checkpoint(status: control_pb2.StatusReply) -> str:
    """How old the newest one is: what a power cut would cost."""
    known = math.isfinite(status.checkpoint_seconds) and status.checkpoint_seconds > 0
    return "" if rests(status) and not known else age(status.checkpoint_seconds)


def memory(status: control_pb2.StatusReply) -> str:
    """Daemon and trainer together."""
    taken = status.daemon_rss_bytes + status.trainer_rss_bytes
    return bytes_text(taken) if taken else ""


def loss(status: control_pb2.StatusReply) -> str:
    """Of the last inner steps."""
    known = math.isfinite(status.train_loss)
    return f"loss {status.train_loss:.3f}" if known else "no loss yet"


def next_cut(status: control_pb2.StatusReply) -> str:
    """When the next one is due."""
    if status.phase == "averaging":
        return "being averaged"
    seconds = status.next_cut_seconds
    if not math.isfinite(seconds) or seconds < 0:
        return "no cut in sight"
    return f"cut in {duration(seconds)}" if seconds >= 1 else "cut now"


def limits_set(limits: Iterable[control_pb2.ActingLimit]) -> str:
    """All that are set, each with its value."""
    return one_line(", ".join(f"{limit.name.replace('_', ' ')} {limit.words}" for limit in limits))


def acting(limit: control_pb2.ActingLimit) -> str:
    """What a limit does now."""
    return one_line(f"{limit.name.replace('_', ' ')}: {limit.words}")


def age(seconds: float) -> str:
    """How long ago."""
    return f"{duration(seconds)} ago" if math.isfinite(seconds) else "none yet"


def duration(seconds: float) -> str:
    """In two units at most: 42 s, 3 min, 1 h 5 min, 2 d 4 h."""
    if not math.isfinite(seconds):
        return "?"
    whole = int(max(0.0, seconds))
    if whole < 100:
        return f"{whole} s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if hours < 1:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if days < 1 else f"{days} d {hours % 24} h"


def count(number: float) -> str:
    """A number in six characters or so: 987, 1,234, 12.3k, 1.25M."""
    if not math.isfinite(number):
        return "?"
    if number < 9999.5:
        return f"{number:,.0f}"
    for unit in ("k", "M", "G", "T"):
        number /= 1000
        if number < 999.5:
            return f"{number:.3g}{unit}"
    return f"{number / 1000:.3g}P"


def percent(share: float) -> str:
    """Rounded down, so that 100% means all of it; tenths below ten."""
    if not math.isfinite(share):
        return "?"
    in_tenths = math.floor(1000 * min(max(share, 0.0), 1.0))
    return f"{in_tenths / 10:.1f}%" if in_tenths < 100 else f"{in_tenths // 10}%"
