"""`peer purge`: everything of ours off this machine."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from peer.commands.options import run_option, state_dir_option
from swarmpb.exits import Exit, UserError

_GONE_SECONDS = 15.0


@click.command()
@run_option
@state_dir_option
@click.option("--yes", is_flag=True, help="Without asking.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option("--leave", is_flag=True, help="Have peers that run leave first.")
def purge(
    run_id: str | None, state_dir: Path | None, yes: bool, dry_run: bool, leave: bool
) -> None:
    """Remove all that peers have put on this machine, or with --run all of one run.

    Identities, checkpoints, training text, logs, settings, services, and what killed processes
    left in the temporary folder. It is said first what there is and how large.

    \b
    Example: peer purge --dry-run
    """
    from peer.config import config_file, load_config
    from peer.limits.units import bytes_text
    from peer.purging import items_of_all, items_of_run, remove, stays
    from peer.purging import run_ids as all_runs

    # a link to the state folder is the user's: what it leads to is the folder
    folder = load_config({"state_dir": state_dir}).state_dir.resolve()
    run_ids = [run_id] if run_id else all_runs(folder)
    if run_id:
        items = items_of_run(folder, run_id)
    else:
        items = items_of_all(folder, config_file(), time.time())
    services = _services(run_id)
    if not items and not services:
        click.echo(f"nothing of {f'run {run_id}' if run_id else 'ours'} is on this machine")
        return
    for item in items:
        click.echo(f"{bytes_text(item.bytes):>8}  {item.path}  ({item.what})")
    for path in services.values():
        click.echo(f"{'':8}  {path}  (service)")
    click.echo(f"{bytes_text(sum(it.bytes for it in items)):>8}  in all")
    for line in (*stays(folder, config_file()), *_services_of_system(run_id)):
        click.echo(f"stays: {line}")
    if dry_run:
        return
    _require_nobody(folder, run_ids, leave)
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("nobody can be asked: say --yes, or --dry-run to look only")
        click.confirm("Remove it?", abort=True)
    _uninstall(list(services), folder)
    present = [it for it in run_ids if (folder / "runs" / it).is_dir()]
    remove(items, folder, present)
    click.echo("removed")


def _services(run_id: str | None) -> dict[str, Path]:
    """Files of this user's services, by run."""
    from peer.service.installing import Manager

    found = Manager(system=False).installed()
    return {name: path for name, path in found.items() if run_id in (None, name)}


def _services_of_system(run_id: str | None) -> list[str]:
    """What root has installed, in lines for a person."""
    from peer.service.description import SYSTEM_STATE
    from peer.service.installing import Manager

    return [
        f"a service of the system: sudo peer service uninstall --system --run {name}, then "
        f"sudo peer purge --state-dir {SYSTEM_STATE}"
        for name in Manager(system=True).installed()
        if run_id in (None, name)
    ]


def _require_nobody(folder: Path, run_ids: list[str], leave: bool) -> None:
    """No peer of these runs may run; those that do are told to leave, if that is asked for."""
    from peer import control
    from peer.runtime import running

    for run_id in run_ids:
        place = folder / "runs" / run_id
        holder = running(place)
        if holder is None:
            continue
        if not leave:
            raise UserError(
                Exit.ALREADY_RUNNING,
                f"a peer of run {run_id} runs here (process {holder[0]}): `peer leave --run "
                f"{run_id}` first, or say --leave",
            )
        click.echo(f"run {run_id}: {control.leave(place)}")
        deadline = time.monotonic() + _GONE_SECONDS
        while running(place) is not None:
            if time.monotonic() > deadline:
                raise UserError(
                    Exit.ALREADY_RUNNING,
                    f"the peer of run {run_id} has not left after {_GONE_SECONDS:.0f} s",
                )
            time.sleep(0.05)


def _uninstall(run_ids: list[str], folder: Path) -> None:
    from peer.commands.service import uninstalled
    from peer.service.installing import Manager

    for run_id in run_ids:
        uninstalled(run_id, Manager(system=False), folder)
