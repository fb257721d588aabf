"""`peer doctor`: would this machine help a run, and what to change. `peer join --dry-run`, too."""

from __future__ import annotations

import json
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from peer.commands.limits import by_key, limit_options
from peer.commands.options import (
    coordinator_option,
    device_option,
    host_option,
    json_option,
    link_argument,
    named_run,
    p2p_port_option,
    prepare,
    run_of_link_option,
    state_dir_option,
)
from swarmpb.endpoints import JoinLink
from swarmpb.exits import Exit, UserError

if TYPE_CHECKING:
    from peer.doctor.findings import Findings
    from peer.doctor.looking import Question


@click.command()
@link_argument
@run_of_link_option
@coordinator_option
@state_dir_option
@device_option
@host_option
@p2p_port_option
@limit_options
@json_option
@click.pass_obj
def doctor(
    debug: bool,
    /,
    link: JoinLink | None,
    run_id: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Say whether this machine would help a run, and what to change.

    With a LINK or --run it trains a few seconds with the run's model and has other peers dial this
    machine; without, it looks at the machine only. It takes no part in the run and leaves nothing
    behind. The exit code is 0, or 36 if this machine cannot join or would not help.

    \b
    Example: peer doctor murmuration://127.0.0.1:7700/demo
    Example: peer doctor --run demo --coordinator 127.0.0.1:7700 --json
    """
    from peer.config import load_config

    if link is not None or run_id is not None:
        run_id = named_run(link, run_id, options)
    config = load_config(by_key(options))
    prepare(debug)
    from peer.doctor.looking import Question
    from peer.local_runs import run_folder

    folder = run_folder(config.state_dir, run_id) if run_id else None
    return examine(Question(config, run_id, folder, link.invite if link else ""), as_json)


def examine(question: Question, as_json: bool = False) -> int:
    """Look, and say what was found; the exit code. Raises `UserError`."""
    from rich.console import Console

    from peer.doctor.report import document, show
    from peer.doctor.verdict import verdict_of

    words = Console(stderr=True)
    with words.status("") as spinner:
        verdict = verdict_of(_looked(question, lambda doing: spinner.update(f"{doing} …")))
    if as_json:
        click.echo(json.dumps(document(verdict), indent=2))
    else:
        show(verdict, Console())
    return 0 if verdict.helpful else int(Exit.NOT_HELPFUL)


def _looked(question: Question, tell: Any) -> Findings:
    import anyio

    from peer.doctor.looking import look

    found: list[Findings] = []

    async def until_signal() -> None:
        async with anyio.create_task_group() as tasks:
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:

                async def give_up() -> None:
                    async for _ in signals:
                        tasks.cancel_scope.cancel()
                        return

                tasks.start_soon(give_up)
                try:
                    found.append(await look(question, tell))
                except UserError as error:
                    failure.append(error)  # raised below: a task group would wrap it
                tasks.cancel_scope.cancel()

    failure: list[UserError] = []
    anyio.run(until_signal, backend_options={"use_uvloop": sys.platform != "win32"})
    if failure:
        raise failure[0]
    if not found:
        sys.exit(int(Exit.INTERRUPTED))
    return found[0]
