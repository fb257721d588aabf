"""`python -m peer.export_process`: fetch a run's model and write it for `from_pretrained`.

A process of its own, so that a coordinator keeps neither the download nor torch in its memory. It
is no peer of the run: it publishes no record and trains nothing. The first line of standard input
is an `ExportRequest`; the rest is a lifeline, with whose end this process ends. Standard output has
a line of JSON for each piece of news: `progress`, then `written` or `failed`.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from blake3 import blake3

from peer.averaging.state import GlobalState
from peer.exporting import Fetched, ModelFetcher
from peer.members import Members
from peer.swarm.clock import CLOCK
from peer.swarm.interface import Unreachable
from swarmpb.addresses import is_loopback
from swarmpb.exits import Exit, UserError
from swarmpb.files import write_private, write_whole
from swarmpb.membership import RunIdentity
from swarmpb.signing import PeerIdentity
from swarmpb.spec import RunSpec, parse_canonical
from swarmpb.v1 import membership_pb2

FACTS_FILE = "murmuration.json"
"""Beside the model: which one it is."""


@dataclass(frozen=True)
class ExportRequest:
    """What to fetch, from where, and where to write it."""

    spec: str
    """Canonical JSON."""
    initial_peers: tuple[str, ...]
    folder: str
    """Of the model; if it exists it is empty, or was written so before."""
    identity: str
    """The content of a libp2p identity file, base64."""
    owner_key: str
    """Of the run, hexadecimal."""
    admission: str
    """A serialised `Admission`, base64: the run's orders, and a certificate if it takes one."""

    @classmethod
    def from_json(cls, line: bytes) -> ExportRequest:
        values: dict[str, Any] = json.loads(line)
        return cls(**values | {"initial_peers": tuple(values["initial_peers"])})


def main() -> None:
    """Exit status: 0 written; else that of the failure, which was told."""
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR, format="%(message)s")
    request = ExportRequest.from_json(sys.stdin.buffer.readline())
    status = 0
    try:
        written = anyio.run(_export, request, backend_options={"use_uvloop": True})
        _say("written", written)
    except UserError as error:
        _say("failed", {"code": int(error.code), "reason": str(error)})
        status = int(error.code)
    sys.stdout.flush()
    os._exit(status)  # a thread still reads the lifeline


async def _export(request: ExportRequest) -> dict[str, Any]:
    written: dict[str, Any] = {}
    failure: UserError | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_follow_starter, tasks.cancel_scope)
        try:
            written = await _fetch_and_write(request)
        except UserError as error:
            failure = error  # raised below: a task group would wrap it
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return written


async def _follow_starter(scope: anyio.CancelScope) -> None:
    await anyio.to_thread.run_sync(sys.stdin.buffer.read, abandon_on_cancel=True)
    scope.cancel()


async def _fetch_and_write(request: ExportRequest) -> dict[str, Any]:
    # slow imports, only now that the starter's death would be noticed
    from peer.training.failure import TrainerFailure
    from peer.training.model import parameter_count

    spec = parse_canonical(request.spec.encode())
    try:
        count = await anyio.to_thread.run_sync(parameter_count, spec)
    except TrainerFailure as error:
        raise UserError(Exit.BAD_SPEC, str(error)) from error
    fetched = await _fetch(request, spec, count)
    _say("progress", f"writing round {fetched.state.round} to {request.folder}")
    facts = _facts(spec, fetched)
    await anyio.to_thread.run_sync(_write, spec, fetched.state, Path(request.folder), facts)
    return facts


async def _fetch(request: ExportRequest, spec: RunSpec, parameters: int) -> Fetched:
    from peer.swarm.libp2p import Libp2pNetwork

    with tempfile.TemporaryDirectory(prefix="mx-") as name:  # short: sockets lie in it
        folder = Path(name)
        identity = folder / "identity.key"
        write_private(identity, base64.b64decode(request.identity))
        members = _members(request, spec, PeerIdentity.load(identity))
        near = all(is_loopback(it) for it in request.initial_peers)
        host = "127.0.0.1" if near else "0.0.0.0"  # noqa: S104  peers may dial back, as any peer's
        network = await Libp2pNetwork.start(
            identity, folder, host, 0, request.initial_peers, members
        )
        try:
            fetcher = ModelFetcher(network, members, parameters, _say_progress)
            return await fetcher.run()
        except Unreachable as error:
            raise UserError(
                Exit.SWARM_UNREACHABLE,
                f"the model of run {spec.run_id} cannot be had from its peers: {error}",
            ) from error
        finally:
            with anyio.CancelScope(shield=True):
                await network.close()


def _members(request: ExportRequest, spec: RunSpec, identity: PeerIdentity) -> Members:
    """Whom to believe: as any peer of the run does."""
    run = RunIdentity(spec.run_id, spec.hash(), bytes.fromhex(request.owner_key))
    members = Members(run, identity.peer_id, CLOCK.now)
    admission = membership_pb2.Admission.FromString(base64.b64decode(request.admission))
    if admission.orders.orders:  # else nobody speaks for the run, and it is open to all
        members.take(admission.orders)
    if admission.HasField("certificate"):
        members.certificate = admission.certificate.SerializeToString()
    return members


def _facts(spec: RunSpec, fetched: Fetched) -> dict[str, Any]:
    state = fetched.state
    return {
        "run_id": spec.run_id,
        "spec_hash": spec.hash().hex(),
        "round": state.round,
        "tokens": state.tokens,
        "state_digest": state.digest.hex(),
        "parameters": int(state.parameters.size),
        "parameters_blake3": blake3(state.parameters.tobytes()).hexdigest(),
        "holders": fetched.holders,
        "peers": fetched.peers,
    }


def _write(spec: RunSpec, state: GlobalState, folder: Path, facts: dict[str, Any]) -> None:
    from peer.training.writing import write_model

    problem = write_model(spec, state.parameters, folder)
    if problem:
        raise UserError(Exit.STATE_FOLDER, problem)
    text = json.dumps(facts, indent=2) + "\n"
    try:
        write_whole(folder / FACTS_FILE, lambda file: file.write(text.encode()))
    except OSError as error:
        raise UserError(Exit.STATE_FOLDER, f"cannot write to {folder}: {error}") from error


def _say_progress(words: str) -> None:
    _say("progress", words)


def _say(kind: str, news: object) -> None:
    print(json.dumps({kind: news}), flush=True)


if __name__ == "__main__":
    main()
