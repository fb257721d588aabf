"""`peer id`: who this machine's peers are, and how to take an identity to another machine."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from peer.commands.options import json_option, known_folder, run_option, state_dir_option
from swarmpb.exits import Exit, UserError

passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Its first line is the passphrase; without it you are asked.",
)


@click.group(
    invoke_without_command=True, epilog="Example: peer id export --run demo demo-identity.json"
)
@run_option
@state_dir_option
@json_option
@click.pass_context
def id(  # noqa: A001  the command's name
    context: click.Context, run_id: str | None, state_dir: Path | None, as_json: bool
) -> None:
    """Show which peer this machine is, in each run that it knows.

    An identity is made by chance when a run is joined, one for each run. What a peer was credited
    with belongs to it.
    """
    if context.invoked_subcommand is not None:
        return
    from peer.local_runs import run_folders

    state = _state(state_dir)
    folders = [known_folder(state, run_id)] if run_id else run_folders(state)
    rows = [{"run": it.name, "peer_id": _peer_id(it)} for it in folders]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo(f"no run was joined on {state}")
    for row in rows:
        shown = row["peer_id"] or "none yet: it is made when the run is joined"
        click.echo(shown if run_id else f"{row['run']}  {shown}")


@id.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@run_option
@state_dir_option
@passphrase_option
@click.option("--plain", is_flag=True, help="Without a passphrase: who reads FILE is this peer.")
def export(
    file: Path,
    run_id: str | None,
    state_dir: Path | None,
    passphrase_file: Path | None,
    plain: bool,
) -> None:
    """Write a peer's identity to FILE, encrypted with a passphrase.

    Nothing is overwritten, and only you may read FILE. Two machines must not be the same peer at
    the same time.

    \b
    Example: peer id export --run demo demo-identity.json
    """
    from peer.identity_export import export as exported
    from peer.identity_files import identity_of

    if plain and passphrase_file is not None:
        raise click.UsageError("--plain has no passphrase")
    folder = known_folder(_state(state_dir), run_id)
    identity = identity_of(folder)
    if identity is None:
        raise UserError(Exit.UNKNOWN_RUN, f"there is no identity for run {folder.name} yet")
    if os.path.lexists(file):
        raise click.BadParameter(f"{file} exists already: choose another name")
    passphrase = None if plain else _passphrase(passphrase_file, new=True)
    _write_new(file, exported(identity, folder.name, passphrase))
    click.echo(f"wrote {identity.peer_id} of run {folder.name} to {file}")
    if plain:
        click.echo("it is not encrypted: whoever reads it can be this peer", err=True)


@id.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@state_dir_option
@passphrase_option
def import_(file: Path, state_dir: Path | None, passphrase_file: Path | None) -> None:
    """Make the identity in FILE that of this machine's peer, in the run it was made for.

    No peer of that run may run here. The identity before it is kept aside.

    \b
    Example: peer id import demo-identity.json
    """
    from peer.identity_export import MAX_FILE_BYTES, ExportError, read_export
    from peer.identity_files import install

    try:
        with file.open("rb") as opened:
            exported = read_export(opened.read(MAX_FILE_BYTES + 1))
        passphrase = _passphrase(passphrase_file, new=False) if exported.encrypted else ""
        identity = exported.open(passphrase)
    except OSError as error:
        raise UserError(Exit.BAD_CONFIG, f"cannot read {file}: {error.strerror}") from error
    except ExportError as error:
        raise UserError(Exit.BAD_CONFIG, f"{file}: {error}") from error
    state = _state(state_dir)
    aside = install(state, exported.run_id, identity)
    click.echo(f"this machine is {identity.peer_id} in run {exported.run_id} from now on")
    if aside is not None:
        click.echo(f"the identity before it is in {aside}")


def _state(state_dir: Path | None) -> Path:
    """The state folder, which may be named before `export` and `import`, too."""
    from peer.config import load_config

    parent = click.get_current_context().parent
    named = state_dir or (parent.params.get("state_dir") if parent else None)
    return load_config({"state_dir": named}).state_dir


def _peer_id(folder: Path) -> str | None:
    from peer.identity_files import identity_of

    try:
        identity = identity_of(folder)
    except (OSError, ValueError) as error:
        raise UserError(Exit.STATE_FOLDER, f"the identity cannot be read: {error}") from error
    return identity.peer_id if identity else None


def _passphrase(file: Path | None, new: bool) -> str:
    from peer.identity_export import MIN_PASSPHRASE

    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(Exit.BAD_CONFIG, f"cannot read {file}: {error}") from error
        passphrase = lines[0] if lines else ""
    elif sys.stdin.isatty():
        passphrase = click.prompt("Passphrase", hide_input=True, confirmation_prompt=new, err=True)
    else:
        raise click.UsageError("nobody can be asked for the passphrase: name --passphrase-file")
    if new and len(passphrase) < MIN_PASSPHRASE:
        raise click.UsageError(f"a passphrase needs {MIN_PASSPHRASE} letters or more")
    return passphrase


def _write_new(file: Path, data: bytes) -> None:
    """A file that was not there, for its owner's eyes only."""
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(file, flags, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(data)
            os.fsync(descriptor)
    except OSError as error:
        raise UserError(Exit.BAD_CONFIG, f"cannot write {file}: {error.strerror}") from error
