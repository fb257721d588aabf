"""`peer join --detach`: the same command in a session of its own, in the background."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peer.commands.options import DETACHED
from peer.control import ask_status
from peer.runtime import running
from swarmpb.exits import Exit, UserError

START_SECONDS = 60.0
_LOOK_SECONDS = 0.1
_OPTION = "--detach"


def start_detached(folder: Path) -> int:
    """Start this command again in the background; its process id, once it answers.

    folder: of the run. What it says if it ends at once becomes a `UserError` with its exit code.
    """
    holder = running(folder)
    if holder is not None:
        raise UserError(
            Exit.ALREADY_RUNNING,
            f"a peer of this run is already running here (process {holder[0]}); `peer leave` ends"
            " it",
        )
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            [sys.executable, *_arguments()],
            env={**os.environ, DETACHED: "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=words,
            start_new_session=True,  # the terminal's hang-up and Ctrl-C are not for it
        )
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None:
            if _answers(folder, process.pid):
                return process.pid
            if time.monotonic() > deadline:
                process.kill()
                raise UserError(
                    Exit.NOT_RUNNING,
                    f"the peer did not start within {START_SECONDS:.0f} s; `peer logs` has its last"
                    " words",
                )
            time.sleep(_LOOK_SECONDS)
        words.seek(0)
        said = words.read(4096).decode(errors="replace").strip().removeprefix("peer: ")
    try:
        code = Exit(process.returncode)
    except ValueError:
        code, said = Exit.NOT_RUNNING, f"it ended with code {process.returncode}: {said}"
    raise UserError(code, said)


def _answers(folder: Path, pid: int) -> bool:
    holder = running(folder)
    if holder is None or holder[0] != pid:
        return False
    try:
        ask_status(folder)
    except UserError:
        return False
    return True


def _arguments() -> list[str]:
    return [it for it in sys.orig_argv[1:] if it != _OPTION]
