"""A peer that rests: a light process that waits until it may take part, and answers its user."""

from __future__ import annotations

import os
import time

import anyio
import psutil

from peer.control import serve_control
from peer.ending import leaving_signals, say_leaving
from peer.join_request import JoinRequest
from peer.limits.in_force import LimitsInForce
from peer.limits.words import add_limits
from peer.local_runs import disk_bytes
from peer.reloading import reload
from peer.resting.lookout import Lookout, until_next_look
from peer.resting.rest import Pause, Rest, rest_for_pause
from peer.run_log import log_changes
from peer.runtime import RuntimeFolder
from peer.screen.show import show_live
from swarmpb.v1 import control_pb2
from swarmpb.version import SOFTWARE_VERSION


class RestingPeer:
    """Implements `peer.control.Steering`."""

    def __init__(
        self, request: JoinRequest, limits: LimitsInForce, lookout: Lookout, rest: Rest
    ) -> None:
        self.rest = rest
        self.asked = anyio.Event()
        """Something may have changed: look again."""
        self.left = ""
        """Why it is to end; empty: it is not."""
        self._request = request
        self._limits = limits
        self._lookout = lookout
        self._since = time.monotonic()
        self._process = psutil.Process()

    def pause(self, seconds: float) -> str:
        return self._paused(Pause(time.time() + seconds if seconds else None))

    def resume(self) -> str:
        self._paused(None)
        rest = self._lookout.rest()
        return "resuming" if rest is None else f"not paused any more; {rest.reason}"

    def finish(self, within_seconds: float) -> str:
        self._leave("finished: no round was under way")
        return self.left

    def leave(self) -> str:
        self._leave("asked to leave")
        return "leaving"

    def reload(self) -> control_pb2.ReloadReply:
        taken = reload(self._request, self._limits)
        self.asked.set()
        return taken

    def status(self) -> control_pb2.StatusReply:
        nan = float("nan")
        reply = control_pb2.StatusReply(
            run_id=self._request.run_id,
            pid=os.getpid(),
            phase="paused" if self.rest.paused else "resting",
            reason=self.rest.reason,
            resting_until=self.rest.until or 0.0,
            resting_reasons=self.rest.reasons or (self.rest.reason,),
            uptime_seconds=time.monotonic() - self._since,
            coordinator=self._request.config.coordinator,
            coordinator_state="not asked while resting",
            daemon_rss_bytes=self._process.memory_info().rss,
            train_loss=nan,
            checkpoint_seconds=nan,
            next_cut_seconds=nan,
            disk_bytes=disk_bytes(self._request.folder),
            version=SOFTWARE_VERSION,
        )
        add_limits(reply, self._limits)
        return reply

    def _paused(self, pause: Pause | None) -> str:
        self._lookout.keep_pause(pause)
        self.rest = self._lookout.rest() or self.rest
        self.asked.set()
        return self.rest.reason

    def _leave(self, why: str) -> None:
        self.left = why
        self.asked.set()


async def wait_until_allowed(
    request: JoinRequest, runtime: RuntimeFolder, limits: LimitsInForce, lookout: Lookout
) -> str:
    """Wait while there is a reason to rest; why it is to end instead, or empty to go on."""
    left = await _wait(request, runtime, limits, lookout)
    if not left and rest_for_pause(lookout.pause, time.time()) is None:
        lookout.keep_pause(None)  # it is over
    return left


async def _wait(
    request: JoinRequest, runtime: RuntimeFolder, limits: LimitsInForce, lookout: Lookout
) -> str:
    rest = lookout.rest()
    if rest is None:
        return ""
    peer = RestingPeer(request, limits, lookout, rest)
    async with serve_control(runtime.path, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(_obey_signals, peer)
        tasks.start_soon(show_live, peer.status)
        tasks.start_soon(log_changes, peer.status)
        while not peer.left:
            with anyio.move_on_after(until_next_look(time.time())):
                await peer.asked.wait()
            peer.asked = anyio.Event()
            await lookout.look()
            rest = lookout.rest()
            if rest is None:
                break
            peer.rest = rest
        tasks.cancel_scope.cancel()
    return peer.left


async def _obey_signals(peer: RestingPeer) -> None:
    with anyio.open_signal_receiver(*leaving_signals()) as signals:
        say_leaving(await signals.__anext__(), "leaving")
        peer.leave()
