"""The `peer` command. Everything slow is imported by the command that needs it."""

from __future__ import annotations

import io
import os
import sys
import traceback

import click

from peer.commands.lazily import LazyGroup
from peer.ending import end_early_on_signals
from swarmpb.exits import Exit, UserError
from swarmpb.version import SOFTWARE_VERSION

_COMMANDS = (
    "completion",
    "config",
    "doctor",
    "finish",
    "id",
    "join",
    "leave",
    "logs",
    "pause",
    "purge",
    "receipts",
    "resume",
    "runs",
    "service",
    "status",
    "support-bundle",
)


@click.group(
    cls=LazyGroup, names=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(SOFTWARE_VERSION, prog_name="peer")
@click.option("--debug", is_flag=True, help="Log everything; show where an error comes from.")
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """Lend this machine to a training run, or look at what it does.

    \b
    Example: peer join murmuration://127.0.0.1:7700/demo
    """
    context.obj = debug


def main() -> None:
    """Entry point: one clear line and an exit code for what the user can mend."""
    end_early_on_signals()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # peers' names may be beyond this terminal
    try:
        code = cli(standalone_mode=False)
    except UserError as error:
        _show_trace()
        _say(str(error))
        code = error.code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = Exit.INTERRUPTED
    except Exception as error:
        _show_trace()
        _say(
            f"this is a bug of ours ({type(error).__name__}: {error}); run again with "
            "`peer --debug …` to see where, and tell us"
        )
        code = 1
    sys.exit(_as_told(int(code or 0)))


def _as_told(code: int) -> int:
    """0 in place of what is not to be tried again, where the service manager cannot tell."""
    if not os.getenv("PEER_FINAL_IS_SUCCESS"):
        return code
    from peer.service.outcomes import left_alone

    return 0 if code in left_alone() else code


def _say(text: str) -> None:
    """One line; a coordinator's words may be in it, and a terminal must not obey them."""
    from peer.screen.plain import one_line

    click.echo(f"peer: {one_line(text)}", err=True)


def _show_trace() -> None:
    if "--debug" in sys.argv:
        traceback.print_exc()
