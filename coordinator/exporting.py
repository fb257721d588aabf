"""A run's model, fetched from its peers by a process of its own (`peer.export_process`).

That process ends when its standard input does, so however this one ends, nothing is left running.
"""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peer.swarm.clock import CLOCK
from swarmpb.exits import Exit, UserError
from swarmpb.signing import PeerIdentity
from swarmpb.v1 import coordinator_pb2, membership_pb2, swarm_pb2

COMMAND = [sys.executable, "-m", "peer.export_process"]
END_SECONDS = 5.0
"""After its lifeline was cut, it may take so long to end; then it is killed."""
_LAST_WORDS = 300


Admit = Callable[[swarm_pb2.Envelope], membership_pb2.Admission]
"""Lets a guest of the run's owner in; raises as `Admissions.admit_guest`."""


@dataclass(frozen=True)
class Export:
    """What is wanted: the newest state that the run's peers agree on, as a model in `folder`."""

    run_id: str
    spec: coordinator_pb2.SignedSpec
    initial_peers: Sequence[str]
    """libp2p multiaddresses."""
    folder: Path


class Exporter:
    """One export at work. A context manager: leaving it early ends the process."""

    def __init__(self, export: Export, admit: Admit) -> None:
        self._request = json.dumps(_request(export, admit))
        # a file: nobody reads it while the export is at work
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed by `close`
        self._process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Exporter:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Cut its lifeline, from whatever thread; it is gone when this returns."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None  # noqa: S101  as it was started
            with contextlib.suppress(BrokenPipeError):  # it was dead before it read the request
                pipe.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def run(self, tell: Callable[[str], None]) -> dict[str, Any]:
        """Wait for the model; what was written (`murmuration.json`).

        tell: hears how far it is. Raises `UserError` as the process says, or REFUSED if it died.
        """
        process = self._process
        assert process.stdin is not None  # noqa: S101  as it was started
        assert process.stdout is not None  # noqa: S101  as it was started
        with contextlib.suppress(BrokenPipeError):  # its last words tell why
            process.stdin.write(self._request.encode() + b"\n")
            process.stdin.flush()
        for line in process.stdout:
            news = json.loads(line)
            if "progress" in news:
                tell(str(news["progress"]))
            elif "failed" in news:
                raise UserError(Exit(news["failed"]["code"]), str(news["failed"]["reason"]))
            else:
                return dict(news["written"])
        raise UserError(Exit.REFUSED, f"the export died: {self._last_words()}")

    def _last_words(self) -> str:
        status = self._process.wait()
        self._errors.seek(0)
        words = self._errors.read().decode(errors="replace").strip().splitlines()
        return words[-1][:_LAST_WORDS] if words else f"exit status {status}"


def _request(export: Export, admit: Admit) -> dict[str, Any]:
    """As `peer.export_process` reads it: with an identity for this once, and what lets it in."""
    identity = PeerIdentity.generate()
    asked = membership_pb2.AdmissionRequest(
        run_id=export.run_id,
        spec_hash=export.spec.hash,
        written_at_ms=int(CLOCK.now() * 1000),
    )
    admission = admit(identity.seal("admission", asked.SerializeToString()))
    return {
        "spec": export.spec.spec.decode(),
        "owner_key": export.spec.owner_key.hex(),
        "initial_peers": list(export.initial_peers),
        "folder": str(export.folder.absolute()),
        "identity": base64.b64encode(identity.to_bytes()).decode(),
        "admission": base64.b64encode(admission.SerializeToString()).decode(),
    }
