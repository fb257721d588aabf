"""Options that several commands of `peer` have, and what they prepare."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from peer.local_runs import RUN_NAME, is_run_folder, run_folder, run_folders, running_folders
from swarmpb.endpoints import MAX_LINK, JoinLink, LinkError, parse_link
from swarmpb.exits import Exit, UserError

DETACHED = "MURMURATION_DETACHED"
"""Set in the environment of a process in the background: the run's log is its only voice."""


def run_name(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Refused before it becomes the name of a folder."""
    if value is not None and not RUN_NAME.fullmatch(value):
        raise UserError(
            Exit.UNKNOWN_RUN,
            f"no run can be named {value!r}: names are of lower-case letters, digits and hyphens; "
            "`coordinator run list` shows those there are",
        )
    return value


def join_link(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> JoinLink | None:
    try:
        if value is not None and value.startswith("@"):
            value = _first_letters(Path(value[1:]))
        return None if value is None else parse_link(value)
    except LinkError as error:
        raise click.BadParameter(str(error)) from error


def _first_letters(path: Path) -> str:
    """Of a file that holds a link, and more than any link has of one that holds something else."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(MAX_LINK * 2)
    except UnicodeDecodeError as error:
        raise LinkError(f"{path} holds no join link, but bytes that are no text") from error
    except OSError as error:
        raise LinkError(f"cannot read {path}: {error.strerror}") from error


def complete_run(
    context: click.Context, _option: click.Parameter, begun: str
) -> list[CompletionItem]:
    """The names of the runs that this machine knows, for a shell."""
    from peer.config import load_config

    try:
        state_dir = load_config({"state_dir": context.params.get("state_dir")}).state_dir
        folders = run_folders(state_dir)
    except (UserError, OSError):
        return []  # a shell that completes is no place for errors
    return [CompletionItem(it.name) for it in folders if it.name.startswith(begun)]


state_dir_option = click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where this machine's files of its runs are kept.",
)


run_option = click.option(
    "--run",
    "run_id",
    metavar="ID",
    callback=run_name,
    shell_complete=complete_run,
    help="The run's name; needed if there are several.",
)
run_of_link_option = click.option(
    "--run",
    "run_id",
    metavar="ID",
    callback=run_name,
    shell_complete=complete_run,
    help="The run's name, without a link.",
)
coordinator_option = click.option(
    "--coordinator", metavar="HOST:PORT", help="The run's coordinator, without a link."
)
device_option = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), help="Where to train."
)
host_option = click.option("--host", help="Address to listen on for other peers.")
p2p_port_option = click.option(
    "--p2p-port", type=int, help="Port to listen on for other peers; 0: a free one."
)
link_argument = click.argument("link", metavar="[LINK]", required=False, callback=join_link)
json_option = click.option("--json", "as_json", is_flag=True, help="For scripts.")


def named_run(link: JoinLink | None, run_id: str | None, options: dict[str, Any]) -> str:
    """Which run to join; what a link says of its coordinator goes into `options`."""
    if link is None:
        if run_id is None:
            raise click.UsageError("name a run with its join LINK, or with --run")
        return run_id
    if run_id or options.get("coordinator"):
        raise click.UsageError(
            "a join LINK names run and coordinator: leave --run and --coordinator away"
        )
    if not link.run_id:
        raise click.UsageError("this link names no run; ask its owner for the join link of a run")
    options["coordinator"] = str(link.endpoint)
    return link.run_id


def running_folder(state_dir: Path, run_id: str | None) -> Path:
    """The folder of the run that is named, or of the only one that a peer runs on."""
    if run_id is not None:
        return run_folder(state_dir, run_id)
    active = running_folders(state_dir)
    if len(active) > 1:
        names = ", ".join(folder.name for folder in active)
        raise UserError(Exit.NOT_RUNNING, f"several peers run here ({names}): name one with --run")
    if not active:
        raise UserError(
            Exit.NOT_RUNNING,
            f"no peer is running on {state_dir}; start one with `peer join LINK`, or with "
            "`peer join --run ID` where it took part before (`peer runs` shows where)",
        )
    return active[0]


def state_folder(state_dir: Path | None, run_id: str | None) -> Path:
    """The folder of the run that is meant, in the state folder that is meant."""
    from peer.config import load_config

    return running_folder(load_config({"state_dir": state_dir}).state_dir, run_id)


def known_folder(state_dir: Path, run_id: str | None) -> Path:
    """The folder of the run that is named, or of the only one that there is or that runs."""
    if run_id is not None:
        folder = run_folder(state_dir, run_id)
        if not is_run_folder(folder):
            raise UserError(
                Exit.UNKNOWN_RUN,
                f"no peer of this machine was ever in run {run_id}; `peer runs` shows those it "
                "knows",
            )
        return folder
    folders = run_folders(state_dir)
    if not folders:
        raise UserError(
            Exit.UNKNOWN_RUN, f"no run was joined on {state_dir}; join one with `peer join LINK`"
        )
    chosen = folders if len(folders) == 1 else running_folders(state_dir)
    if len(chosen) != 1:
        names = ", ".join(it.name for it in chosen or folders)
        raise UserError(
            Exit.UNKNOWN_RUN, f"several runs are known here ({names}): name one with --run"
        )
    return chosen[0]


def prepare(debug: bool) -> None:
    """Set up logging and the libraries' own noise, before they are imported."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its errors come to us as exceptions
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    if os.environ.get(DETACHED):
        logging.getLogger().addHandler(logging.NullHandler())  # the run's log takes it all
        return
    words = logging.StreamHandler(sys.stderr)
    words.setFormatter(
        _OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s" if debug else "%(message)s")
    )
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, handlers=[words])


class _OneLine(logging.Formatter):
    """Words of strangers are in messages: no terminal obeys them."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging names it
        from peer.screen.plain import one_line

        record.message = one_line(record.message)
        return super().formatMessage(record)
