"""`coordinator demo`: a whole swarm on this machine, from its first peer to its model."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path
from rich.console import Console

from coordinator.commands.client import AdminClient, CoordinatorClient
from coordinator.demo.interrupts import Interrupts
from coordinator.demo.script import Script, demo_spec
from coordinator.demo.summary import PeerEnd, Summary, describe, fault, summarize
from coordinator.demo.swarm import RUN_ID, DemoFailed, DemoPeer, Folders, Swarm
from coordinator.demo.view import Happening, PeerLine, Scene, View
from coordinator.registration import Publication, publish
from swarmpb.exits import Exit, UserError
from swarmpb.files import write_whole
from swarmpb.signing import SigningKey
from swarmpb.v1 import coordinator_pb2

TURN_SECONDS = 0.25
PATIENCE_SECONDS = 60.0
"""Without any progress for so long, the demo gives up."""


@dataclass(frozen=True)
class DemoRequest:
    """What `coordinator demo` was asked for."""

    peers: int
    """At the start; one more joins late."""
    tokens: int | None
    """Where the run ends; None: where the preset ends."""
    summary: Path | None
    folder: Path | None


class Interrupted(Exception):
    """The user has seen enough."""


def run_demo(request: DemoRequest, console: Console) -> None:
    """Run it to its end and tell how it went; nothing that it started is alive afterwards.

    `UserError`: DEMO_FAILED, INTERRUPTED, BAD_CONFIG for a folder that cannot be used.
    """
    folders = Folders(_new_folder(request.folder))
    console.print(f"logs and model go to {folders.folder}", soft_wrap=True, highlight=False)
    with Interrupts() as interrupts:
        swarm = Swarm(folders)
        demo = Demo(request, swarm, interrupts)
        try:
            with View(console) as view:
                progress = demo.play(view)
            folders.save_model(demo.spec_hash)
            summary, ends = demo.summary(progress), demo.ends()
        except DemoFailed as error:
            raise UserError(Exit.DEMO_FAILED, f"{error}; logs: {folders.logs}") from error
        except Interrupted as error:
            told = f"interrupted, everything has been stopped; logs: {folders.logs}"
            raise UserError(Exit.INTERRUPTED, told) from error
        finally:
            swarm.stop(at_once=lambda: interrupts.count > 1)
            folders.remove_states()
    _tell(request, console, summary, ends)
    problem = fault(progress, ends, summary.model_path)
    if problem is not None:
        raise UserError(Exit.DEMO_FAILED, f"the demo failed: {problem}; logs: {folders.logs}")


def _new_folder(asked: Path | None) -> Path:
    try:
        if asked is None:
            cache = user_cache_path("murmuration", ensure_exists=True)
            return Path(
                tempfile.mkdtemp(prefix=f"demo-{time.strftime('%Y%m%d-%H%M%S')}-", dir=cache)
            )
        asked.mkdir(parents=True, exist_ok=True)
        occupied = any(asked.iterdir())
    except OSError as error:
        where = error.filename or asked
        raise UserError(
            Exit.BAD_CONFIG, f"cannot write to {where}: {error.strerror}; choose another --folder"
        ) from error
    if occupied:
        raise UserError(Exit.BAD_CONFIG, f"{asked} is not empty; name a new folder with --folder")
    return asked.absolute()


def _tell(request: DemoRequest, console: Console, summary: Summary, ends: list[PeerEnd]) -> None:
    for line in describe(summary, ends):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    if request.summary is not None:
        told = json.dumps(summary.to_json(), indent=2).encode() + b"\n"
        write_whole(request.summary, lambda file: file.write(told))


class Demo:
    """One performance: starts the swarm, has its script happen, and watches for what goes wrong."""

    def __init__(self, request: DemoRequest, swarm: Swarm, interrupts: Interrupts) -> None:
        self._request = request
        self._swarm = swarm
        self._interrupts = interrupts
        self._spec = demo_spec(request.tokens)
        self._script = Script(self._spec.stop.tokens)
        self._scene = Scene(self._spec.stop.tokens)
        self._began = time.monotonic()
        self._ended: set[str] = set()
        self._seen: object = None
        """What counts as progress, as it was last time,"""
        self._moved = self._began
        """and when it last changed."""

    @property
    def spec_hash(self) -> bytes:
        return self._spec.hash()

    def play(self, view: View) -> coordinator_pb2.RunProgress:
        """From nothing to the end of all peers; the run's progress then.

        Raises `DemoFailed` or `Interrupted`.
        """
        self._happens("starting a coordinator")
        self._swarm.start_coordinator()
        while (address := self._swarm.address()) is None:
            self._turn(view)
        with AdminClient(address, self._swarm.admin_token()) as coordinator:
            # a key for this one run: nobody has to trust it, or to keep it
            key = SigningKey.load_or_create(self._swarm.folders.state("owner.key"))
            publish(coordinator, self._spec, key, Publication())
            names = [self._swarm.start_peer(address).name for _ in range(self._request.peers)]
            self._happens(f"{', '.join(names)} start: imports, then the model")
            while self._swarm.running():
                self._look(coordinator)
                self._follow_script(address)
                self._turn(view)
            self._look(coordinator)
            self._turn(view)
        return self._scene.progress

    def ends(self) -> list[PeerEnd]:
        """How the peers ended, in the order in which they started."""
        return [PeerEnd(it.name, it.peer_id, it.child.exit, it.excuse) for it in self._swarm.peers]

    def summary(self, progress: coordinator_pb2.RunProgress) -> Summary:
        """The facts, with the seconds until now."""
        model = self._swarm.folders.model
        path = str(model) if model.is_dir() else None
        return summarize(progress, self.ends(), path, time.monotonic() - self._began)

    # ---- a turn ------------------------------------------------------------------------

    def _turn(self, view: View) -> None:
        """Everything that is done again and again, whatever the demo waits for."""
        if self._interrupts.count:
            raise Interrupted
        self._swarm.check()
        self._note_ends()
        self._scene.seconds = time.monotonic() - self._began
        self._scene.peers = [
            PeerLine(it.name, it.peer_id, self._ending(it)) for it in self._swarm.peers
        ]
        view.show(self._scene)
        self._check_patience()
        time.sleep(TURN_SECONDS)

    def _look(self, coordinator: CoordinatorClient) -> None:
        began = self._scene.progress.tokens_per_second > 0 or self._scene.progress.tokens
        try:
            progress = self._scene.progress = coordinator.progress(RUN_ID)
        except UserError as error:
            if error.code is not Exit.COORDINATOR_UNREACHABLE:
                raise
            return  # it is busy or about to be found dead; patience is limited all the same
        if not began and progress.tokens_per_second > 0:
            self._happens("the first inner steps are done: training is under way")

    def _note_ends(self) -> None:
        for peer in self._swarm.peers:
            if peer.child.exit is not None and peer.name not in self._ended:
                self._ended.add(peer.name)
                if not peer.excuse:
                    self._happens(f"{peer.name} has ended by itself")

    def _check_patience(self) -> None:
        progress = self._scene.progress
        heard = tuple((peer.peer_id, peer.round) for peer in progress.peers)
        seen = (progress.tokens, heard, len(self._swarm.peers), len(self._ended))
        now = time.monotonic()
        if seen != self._seen:
            self._seen, self._moved = seen, now
        if now - self._moved > PATIENCE_SECONDS:
            doing = [f"{it.name} {it.phase}: {it.reason}" for it in progress.peers if it.live]
            raise DemoFailed(
                f"no progress for {PATIENCE_SECONDS:.0f} s, the run stands at round"
                f" {progress.round} ({'; '.join(doing) or 'no peer has reported'})"
            )

    # ---- the script --------------------------------------------------------------------

    def _follow_script(self, address: str) -> None:
        progress = self._scene.progress
        if self._script.join_is_due(progress.tokens, progress.tokens_per_second):
            self._happens(f"{self._swarm.start_peer(address).name} joins late")
        if self._script.kill_is_due(progress.tokens):
            victim = self._swarm.peers[self._request.peers - 1]
            victim.kill()
            self._happens(f"{victim.name} killed with SIGKILL; the others go on")
        if progress.tokens >= self._script.target:
            self._dismiss_latecomers()

    def _dismiss_latecomers(self) -> None:
        """Who has no state yet when the others are gone can get it from nobody."""
        reached = {it.peer_id for it in self._scene.progress.peers if it.round}
        running = self._swarm.running()
        if any(peer.peer_id in reached or peer.excuse for peer in running):
            return
        for peer in running:
            peer.dismiss()
            self._happens(f"{peer.name} came too late, the run is over: it leaves")

    def _happens(self, text: str) -> None:
        self._scene.happenings.append(Happening(time.monotonic() - self._began, text))

    @staticmethod
    def _ending(peer: DemoPeer) -> str:
        if peer.child.exit is None:
            return ""
        return peer.excuse or f"ended, exit code {peer.child.exit}"
