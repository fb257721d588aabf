"""A run's peers on its owner's terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from coordinator.commands.display import NONE, count, seconds_ago
from swarmpb.v1 import admin_pb2


def print_members(run_id: str, members: Sequence[admin_pb2.Member]) -> None:
    """A line for each; how to have some if there are none."""
    console = Console(highlight=False)
    if not members:
        console.print(f"run {run_id} has had no peers; `coordinator invite create` makes a link")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("peer", no_wrap=True, max_width=16)
    table.add_column("id", no_wrap=True)
    for heading in ("tokens", "rounds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("seen", no_wrap=True)
    table.add_column("standing", ratio=1)
    for member in members:
        table.add_row(
            Text(member.name or NONE),
            f"…{member.peer_id[-8:]}",
            count(member.tokens),
            str(member.rounds),
            _seen(member),
            Text(_standing(member)),
        )
    console.print(table)


def print_member(member: admin_pb2.Member) -> None:
    """All about one."""
    console = Console(highlight=False)
    for name, value in (
        ("peer", member.name or NONE),
        ("id", member.peer_id),
        ("phase", member.phase or NONE),
        ("seen", _seen(member)),
        ("version", member.version or NONE),
        ("tokens", f"{member.tokens:,} in {member.rounds} rounds"),
        ("standing", _standing(member)),
        ("admitted", _moment(member.admitted_at_ms)),
        ("certified", f"until {_moment(member.certified_until_ms)}"),
        ("invitation", member.invite or NONE),
    ):
        console.print(Text(f"{name:<14}{value}"), soft_wrap=True)


def _seen(member: admin_pb2.Member) -> str:
    ago = member.seen_seconds_ago
    return "never" if math.isnan(ago) else seconds_ago(ago)


def _standing(member: admin_pb2.Member) -> str:
    if member.banned:
        return f"banned: {member.ban_reason}" if member.ban_reason else "banned"
    return "member" if member.admitted_at_ms else "came to an open run"


def _moment(milliseconds: int) -> str:
    if not milliseconds:
        return NONE
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(milliseconds / 1000))
