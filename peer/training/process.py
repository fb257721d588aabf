"""The trainer process: `python -m peer.training.process`, started by `client.Trainer`.

It does inner steps and, between two of them, what the daemon asks for. It never waits for the
network, and it does not outlive the daemon.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from peer.training import messages
from peer.training.link import DaemonLink
from peer.training.options import TrainerStart
from peer.training.priority import give_way

if TYPE_CHECKING:
    from peer.training.session import Session

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Exit status: 0 the daemon is gone, 1 a bug, 3 a failure that was told as `Failed`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the daemon decides
    _die_with_parent()
    start = TrainerStart.from_argv(sys.argv[1:])
    link = DaemonLink(start.socket)
    _stay_offline()
    # the collector's walks over all that is imported take a second of three
    gc.disable()
    # slow imports, only now that the daemon's death would be noticed
    from peer.training.failure import failed
    from peer.training.session import open_session

    try:
        session = open_session(link, start)
        gc.freeze()
        gc.enable()
        # not before: a volunteer waits for the imports
        give_way(link.allow.niceness, link.allow.idle_io)
        serve(link, session)
    except Exception as error:  # whatever it is, the daemon is told what and why
        failure = failed(error)
        if failure.cause == "bug":
            traceback.print_exc()
        link.end(failure, status=1 if failure.cause == "bug" else 3)


def serve(link: DaemonLink, session: Session) -> None:
    """Train, and obey between two micro-batches; ends with the process."""
    while True:
        for command in link.pending(wait=session.wait_seconds()):
            answer(link, session, command)
        if session.wait_seconds() != 0:
            continue  # a command came, or nothing is left to wait for
        loss = session.advance_evaluation()
        if loss is not None:
            link.send(messages.Evaluated(loss))
        if session.trains:
            progress = session.advance()
            if progress is not None and session.idle:
                link.send(progress)  # the last word for now
            elif progress is not None:
                link.offer(progress)


def answer(link: DaemonLink, session: Session, command: messages.Message) -> None:
    """Do what one command says; see `messages` for what each is answered with."""
    match command:
        case messages.Allow():
            if resized := session.allow(command):
                link.send(resized)
        case messages.UsedElsewhere(seconds):
            session.used_elsewhere(seconds)
        case messages.Train(on):
            session.on = on
        case messages.Schedule(stop_tokens, cooldown_tokens):
            session.schedule(stop_tokens, cooldown_tokens)
        case messages.Load(run_tokens, base):
            session.load(run_tokens, base)
            link.send(messages.Loaded())
        case messages.Lease(chunks):
            link.send(session.lease(chunks))
        case messages.Cut(cut_id):
            link.send(session.cut(cut_id))
        case messages.Shift(run_tokens, base):
            session.shift(run_tokens, base)
            link.send(messages.Shifted())
        case messages.Snapshot(folder):
            session.snapshot(Path(folder), link.send)
        case messages.Resume(path, base, run_tokens):
            link.send(session.resume(Path(path), base, run_tokens))
        case messages.Evaluate():
            session.start_evaluation()
            link.send(messages.Taken())
        case messages.Export(folder):
            vector = session.take_inbox()
            link.send(messages.Taken())
            link.send(messages.Exported(session.export(vector, Path(folder))))
        case _:
            raise ValueError(f"not a command: {command}")


def _die_with_parent() -> None:
    # the closed socket says the same, also to a trainer whose parent died before this call, but
    # not while an import or a kernel holds the interpreter
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _stay_offline() -> None:
    """Nothing the libraries do may reach the network or draw on the terminal."""
    os.environ |= {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }


if __name__ == "__main__":
    main()
