"""`coordinator run …`: what an owner does with runs."""

from __future__ import annotations

from pathlib import Path

import click

from coordinator import config
from coordinator.commands.options import administering, as_json, ask, asked, token_file
from swarmpb.endpoints import Endpoint, JoinLink
from swarmpb.v1 import admin_pb2
from swarmpb.v1.membership_pb2 import RunState

reason = click.option("--reason", default="", metavar="TEXT", help="Why; peers show it.")


@click.group()
def run() -> None:
    """Create runs, look at them, and say what is wanted of them."""


@run.command(epilog="Example: coordinator run create my-run.toml")
@click.argument("spec", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--draft", is_flag=True, help="Nobody may join before `coordinator run resume`.")
@click.option(
    "--invite-only/--open-to-all",
    default=None,
    help="Who may join: those with an invitation, or everybody.  [default: everybody; a run that"
    " is registered already stays as it is]",
)
@ask
@token_file
def create(
    spec: Path,
    draft: bool,
    invite_only: bool | None,
    told: Endpoint | None,
    token_file: Path | None,
) -> None:
    """Sign the run in the file SPEC and register it.

    `coordinator run preset` prints a documented file to begin with. The same file again changes
    nothing but the right of this coordinator to speak for the run, should it have lost that.
    """
    from coordinator import registration
    from coordinator.commands import display

    wanted = registration.Publication(draft, invite_only)
    where = asked(told)
    with (
        spec.open("rb") as file,
        administering(where, token_file) as coordinator,
        display.progress_line("checking the model: some seconds"),
    ):
        info = registration.create_run(
            file, str(spec), coordinator, config.owner_key_path(), wanted
        )
    click.echo(f"run {info.run_id} is registered, spec {info.spec.hash.hex()}")
    click.echo(f"its owner is {info.spec.owner_key.hex()}")
    for line in display.next_steps(info, JoinLink(where.public, info.run_id)):
        click.echo(line)


@run.command(epilog="Example: coordinator run preset demo > my-run.toml")
@click.argument("name")
def preset(name: str) -> None:
    """Print the documented spec of an embedded run, to edit and create."""
    from swarmpb.spec import PRESETS, preset_text

    if name not in PRESETS:
        raise click.BadParameter(f"{name!r} is none of: {', '.join(PRESETS)}", param_hint="NAME")
    click.echo(preset_text(name), nl=False)


@run.command("list", epilog="Example: coordinator run list")
@ask
@as_json
def list_runs(told: Endpoint | None, as_json: bool) -> None:
    """Show all runs."""
    from coordinator.commands import display
    from coordinator.commands.client import CoordinatorClient

    with CoordinatorClient(asked(told).endpoint) as coordinator:
        runs = coordinator.runs()
    if as_json:
        display.print_json([display.plain(summary) for summary in runs])
    else:
        display.print_runs(runs)


@run.command(epilog="Example: coordinator run show demo")
@click.argument("run_id", metavar="ID")
@ask
@as_json
def show(run_id: str, told: Endpoint | None, as_json: bool) -> None:
    """Show one run: progress, how to reach it, and its peers."""
    from coordinator.commands import display
    from coordinator.commands.client import CoordinatorClient

    with CoordinatorClient(asked(told).endpoint) as coordinator:
        info, progress = coordinator.run(run_id), coordinator.progress(run_id)
    if as_json:
        facts = {"info": display.plain(info), "progress": display.plain(progress)}
        display.print_json({**facts, "sources": display.SOURCES})
    else:
        display.print_run(info, progress)


@run.command(epilog="Example: coordinator run export my-run ./model")
@click.argument("run_id", metavar="ID")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@ask
@token_file
@as_json
def export(
    run_id: str, folder: Path, told: Endpoint | None, token_file: Path | None, as_json: bool
) -> None:
    """Write a run's newest model to FOLDER, for `from_pretrained`.

    It is fetched from the run's peers, as most of them hold it, and checked by its digest; the
    model of a run that has ended is what its coordinator kept. The admin token is needed only for
    a run by invitation.
    """
    from coordinator.commands import display, run_export
    from coordinator.commands.client import CoordinatorClient
    from coordinator.model_keeper import KeptModels
    from swarmpb.v1 import membership_pb2, swarm_pb2

    where = asked(told)
    with CoordinatorClient(where.endpoint) as coordinator:
        info = coordinator.run(run_id)

    def admit(envelope: swarm_pb2.Envelope) -> membership_pb2.Admission:
        if not run_export.takes_members_only(info):
            return membership_pb2.Admission(orders=info.orders)
        with administering(where, token_file) as owner:
            return owner.admit_guest(envelope)

    kept = KeptModels(config.state_dir() / "models")
    with display.progress_line("starting: a few seconds", quiet=as_json) as tell:
        facts = run_export.export_run(info, kept, folder, admit, tell)
    if as_json:
        display.print_json({**facts, "folder": str(folder)})
    else:
        display.print_export(facts, folder)


@run.command(epilog='Example: coordinator run pause my-run --reason "a bad batch of data"')
@click.argument("run_id", metavar="ID")
@reason
@ask
@token_file
def pause(run_id: str, reason: str, told: Endpoint | None, token_file: Path | None) -> None:
    """Have peers stop training; they stay, and keep what they have done."""
    _set_state(run_id, RunState.PAUSED, reason, told, token_file)


@run.command(epilog="Example: coordinator run resume my-run")
@click.argument("run_id", metavar="ID")
@reason
@ask
@token_file
def resume(run_id: str, reason: str, told: Endpoint | None, token_file: Path | None) -> None:
    """Open a draft, let a paused run go on, or call the end of a finishing run off."""
    _set_state(run_id, RunState.OPEN, reason, told, token_file)


@run.command(epilog="Example: coordinator run finish my-run --cooldown 50000000")
@click.argument("run_id", metavar="ID")
@click.option(
    "--cooldown",
    type=click.IntRange(0, 10**15),
    default=0,
    help="Over how many more tokens the learning rate falls to the end.  [default: as the spec"
    " says; if it names none, the run ends at once]",
)
@reason
@ask
@token_file
def finish(
    run_id: str, cooldown: int, reason: str, told: Endpoint | None, token_file: Path | None
) -> None:
    """End a run before its target: the rate falls over the last tokens, then it is finished."""
    _set_state(run_id, RunState.FINISHING, reason, told, token_file, cooldown)


@run.command(epilog="Example: coordinator run delete my-run --yes")
@click.argument("run_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@ask
@token_file
def delete(run_id: str, yes: bool, told: Endpoint | None, token_file: Path | None) -> None:
    """Forget a run with its whole history. Nobody may be training it."""
    if not yes and not click.confirm(f"Forget run {run_id} with its history, for good?"):
        click.echo(f"run {run_id} stays")
        return
    with administering(asked(told), token_file) as coordinator:
        coordinator.delete(run_id)
    click.echo(f"run {run_id} is deleted")


def _set_state(
    run_id: str,
    state: RunState,
    why: str,
    told: Endpoint | None,
    token_file: Path | None,
    cooldown: int = 0,
) -> None:
    from coordinator.commands.display import wanted_of

    request = admin_pb2.SetRunStateRequest(
        run_id=run_id, state=state, reason=why, cooldown_tokens=cooldown
    )
    with administering(asked(told), token_file) as coordinator:
        info = coordinator.set_state(request)
    click.echo(f"run {run_id}: {wanted_of(info)}")
