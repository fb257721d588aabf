"""What a user may ask of a peer that takes part: the live side of the control socket."""

from __future__ import annotations

import os
import time

import psutil

from peer.admission import Admission
from peer.daemon import Daemon
from peer.departure import Departure
from peer.events import Phase
from peer.join_request import JoinRequest
from peer.limits.in_force import LimitsInForce
from peer.limits.words import add_limits
from peer.local_runs import disk_bytes
from peer.notices import Notices
from peer.reloading import reload
from peer.resting.lookout import Lookout
from peer.resting.rest import Pause, clock_text, rest_for_pause
from peer.status import add_outlook, status_reply
from peer.swarm.clock import CLOCK
from swarmpb.v1 import control_pb2
from swarmpb.version import SOFTWARE_VERSION


class LivePeer:
    """Implements `peer.control.Steering`."""

    def __init__(
        self, request: JoinRequest, limits: LimitsInForce, departure: Departure, lookout: Lookout
    ) -> None:
        self._request = request
        self._limits = limits
        self._departure = departure
        self._lookout = lookout
        self._started = time.monotonic()
        self._notices: Notices | None = None
        self._admission: Admission | None = None

    def takes_part(self, daemon: Daemon, notices: Notices, admission: Admission) -> None:
        """It has found its run, and has a daemon from now on."""
        self._departure.daemon = daemon
        self._notices = notices
        self._admission = admission

    # ---- what is asked -----------------------------------------------------------------

    def pause(self, seconds: float) -> str:
        now = time.time()
        pause = Pause(now + seconds if seconds else None)
        self._lookout.keep_pause(pause)
        rest = rest_for_pause(pause, now)
        assert rest is not None, "it begins now"  # noqa: S101  an invariant
        self._departure.rest(rest)
        return rest.reason

    def resume(self) -> str:
        if rest_for_pause(self._lookout.pause, time.time()) is None:
            return "it is not paused"
        self._lookout.keep_pause(None)
        return "resuming: it is just leaving for the pause, and joins again at once"

    def finish(self, within_seconds: float) -> str:
        daemon = self._departure.daemon
        if daemon is None:
            self._departure.leave()
            return "stopped: it had not joined yet"
        words = "leaving after it, as you asked"
        if within_seconds:
            now = time.time()
            words = f"leaving by {clock_text(now + within_seconds, now)}, as you asked"
        return daemon.finish(words, within_seconds)

    def leave(self) -> str:
        self._departure.leave()
        return "leaving"

    def reload(self) -> control_pb2.ReloadReply:
        return reload(self._request, self._limits)

    # ---- what is told ------------------------------------------------------------------

    def status(self) -> control_pb2.StatusReply:
        daemon = self._departure.daemon
        if daemon is None:
            reply = control_pb2.StatusReply(
                run_id=self._request.run_id,
                phase=Phase.STARTING.value,
                reason="looking for the run",
                train_loss=float("nan"),
                checkpoint_seconds=float("nan"),
                next_cut_seconds=float("nan"),
            )
        else:
            reply = _of(daemon)
        reply.pid = os.getpid()
        reply.uptime_seconds = time.monotonic() - self._started
        reply.coordinator = self._request.config.coordinator
        reply.daemon_rss_bytes = _resident(os.getpid())
        reply.version = SOFTWARE_VERSION
        reply.disk_bytes = disk_bytes(self._request.folder)
        add_limits(reply, self._limits)
        if self._notices is not None:
            reply.notices.extend(self._notices.current())
        if self._admission is not None:
            reply.membership = self._admission.describe()
        return reply


def _of(daemon: Daemon) -> control_pb2.StatusReply:
    snapshot = daemon.snapshot()
    reply = status_reply(snapshot)
    add_outlook(reply, daemon.outlook(), daemon.losses())
    daemon.traffic.describe(reply)
    daemon.energy.describe(reply)
    reply.name = snapshot.name
    reply.coordinator_state = daemon.reporter.contact.describe(CLOCK.now())
    reply.checkpoint_seconds = daemon.checkpoint_seconds
    trainer = daemon.work.trainer
    if trainer is not None:
        reply.trainer_pid = trainer.pid
        reply.trainer_rss_bytes = _resident(trainer.pid)
    return reply


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
