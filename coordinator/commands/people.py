"""`coordinator invite …` and `coordinator peers …`: who takes part in a run."""

from __future__ import annotations

import re
from pathlib import Path

import click

from coordinator.commands.options import administering, as_json, ask, asked, of_run, token_file
from swarmpb.endpoints import Endpoint, JoinLink

_UNITS = {"m": 60, "h": 3600, "d": 86_400}


def _seconds(_ctx: click.Context, _param: click.Parameter, value: str) -> int:
    match = re.fullmatch(r"([0-9]{1,4})([mhd])", value)
    if match is None or not int(match[1]):
        raise click.BadParameter(f"{value!r} is no length of time, such as 30m, 12h or 7d")
    return int(match[1]) * _UNITS[match[2]]


@click.group()
def invite() -> None:
    """Let people into runs."""


@invite.command("create", epilog="Example: coordinator invite create --run my-run --uses 5")
@of_run
@click.option("--uses", type=click.IntRange(0, 1_000_000), default=0, help="0: any number.")
@click.option(
    "--expires",
    "seconds",
    metavar="TIME",
    default="7d",
    show_default=True,
    callback=_seconds,
    help="For how long it can be used: 30m, 12h, 7d.",
)
@ask
@token_file
def create_invite(
    run_id: str, uses: int, seconds: int, told: Endpoint | None, token_file: Path | None
) -> None:
    """Print a join link: all that a volunteer types after `peer join`.

    Whoever has it may use it: send it to nobody else. A peer that came with it stays a member.
    """
    where = asked(told)
    with administering(where, token_file) as coordinator:
        made = coordinator.invite(run_id, uses, seconds)
    click.echo(JoinLink(where.public, run_id, made.secret))


@click.group()
def peers() -> None:
    """See who takes part in a run, and who may not."""


@peers.command("list", epilog="Example: coordinator peers list --run my-run")
@of_run
@as_json
@ask
@token_file
def list_peers(run_id: str, as_json: bool, told: Endpoint | None, token_file: Path | None) -> None:
    """Show a run's peers, members and banned ones."""
    from coordinator.commands import display, display_people

    with administering(asked(told), token_file) as coordinator:
        members = coordinator.members(run_id)
    if as_json:
        display.print_json([display.plain(member) for member in members])
    else:
        display_people.print_members(run_id, members)


@peers.command("show", epilog="Example: coordinator peers show --run my-run zoe")
@of_run
@click.argument("peer")
@as_json
@ask
@token_file
def show_peer(
    run_id: str, peer: str, as_json: bool, told: Endpoint | None, token_file: Path | None
) -> None:
    """Show one peer, by its id, its name, or the end of its id."""
    from coordinator.commands import display, display_people

    with administering(asked(told), token_file) as coordinator:
        member = coordinator.member(run_id, peer)
    if as_json:
        display.print_json(display.plain(member))
    else:
        display_people.print_member(member)


@peers.command(epilog="Example: coordinator peers ban --run my-run zoe --reason 'sends noise'")
@of_run
@click.argument("peer")
@click.option("--reason", default="", metavar="TEXT", help="Why; the peer is told.")
@ask
@token_file
def ban(
    run_id: str, peer: str, reason: str, told: Endpoint | None, token_file: Path | None
) -> None:
    """Have all peers refuse one, within 30 seconds; by its id, its name, or the end of its id."""
    with administering(asked(told), token_file) as coordinator:
        member = coordinator.ban(run_id, peer, reason)
    click.echo(f"{member.name or 'peer'} {member.peer_id} is banned from run {run_id}")


@peers.command(epilog="Example: coordinator peers unban --run my-run zoe")
@of_run
@click.argument("peer")
@ask
@token_file
def unban(run_id: str, peer: str, told: Endpoint | None, token_file: Path | None) -> None:
    """Let a banned peer take part again."""
    with administering(asked(told), token_file) as coordinator:
        member = coordinator.unban(run_id, peer)
    click.echo(f"{member.name or 'peer'} {member.peer_id} may take part in run {run_id} again")
