"""Keeps what a user allows of the network: the rates, and the month's data.

The rates of all streams are kept by `Shaper`. What the connections really carried, with TLS, the
DHT and the coordinator, is looked up every second: the difference comes out of what streams get.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from collections import deque
from datetime import date, datetime
from pathlib import Path

import anyio
import anyio.to_thread
import psutil

from peer.averaging.links import NO_LIMIT, Allowance, User
from peer.limits.in_force import LimitsInForce
from peer.limits.month import sustained_rate
from peer.limits.settings import Limits
from peer.limits.sockets import Carried, SocketMeter
from peer.limits.units import bytes_text, rate_text
from peer.limits.usage import add_usage, runs_of_day, used_this_month
from peer.notices import Notices
from peer.swarm.shaping import Flow, Shaper
from swarmpb.v1 import control_pb2

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
KEEP_SECONDS = 5.0
"""A daemon that is killed loses what it has counted in so long."""
RATE_SECONDS = 10.0
_PROCESSES_SECONDS = 10.0
_CHATTER_SECONDS = 30.0
_PAYLOAD_SHARE = 0.93
"""Of what is left beside chatter, the rest being TLS, headers and the words of rounds."""
_LEAST_SHARE = 0.25
_CHATTER_SHARE = 0.2
"""Of what is allowed, for looking after the others."""
_MOST_RARER = 8.0
_UNSEEN_FACTOR = 1.06
_UNSEEN_RATE = 20_000.0
"""Where sockets are not counted: headers and TLS, and the DHT's chatter in bytes per second."""


class Traffic(User):
    """`keep` it as long as the peer lives."""

    def __init__(
        self, limits: LimitsInForce, state_dir: Path, run_id: str, notices: Notices
    ) -> None:
        self.shaper = Shaper()
        self.month_bytes = 0
        """Sent and received in this calendar month, all runs."""
        self._rarer = 1.0
        self._codec = ""
        """That this peer's own parts were sent with last, if it was not the run's."""
        self._sharers = 1
        """Runs that use the month's data today, this one included."""
        self._limits = limits
        self._state_dir = state_dir
        self._run_id = run_id
        self._notices = notices
        self._kept = Carried()
        self._history: deque[tuple[float, Carried, Carried]] = deque()
        """Monotonic seconds, what was carried by then, and how much of that as frames."""
        self._processes: tuple[float, list[int]] = (-math.inf, [])
        self._began = time.monotonic()
        self._meter = self._socket_meter()
        limits.on_change.append(self._changed)
        self._changed(limits.limits)

    async def keep(self) -> None:
        """Look, correct and note what was used, until cancelled."""
        try:
            await self._note_usage()
            while True:
                due = anyio.current_time() + KEEP_SECONDS
                while anyio.current_time() < due:
                    await anyio.sleep(LOOK_SECONDS)
                    await self.look()
                await self._note_usage()
        finally:
            with anyio.CancelScope(shield=True):
                await self.look()
                await self._note_usage()

    async def look(self) -> None:
        """Take note of what was carried by now."""
        framed = Carried(self.shaper.upload.counted, self.shaper.download.counted)
        carried = await anyio.to_thread.run_sync(self._carried, framed)
        self.shaper.correct(carried.sent, carried.received)
        now = time.monotonic()
        self._history.append((now, carried, framed))
        while self._history[0][0] < now - _CHATTER_SECONDS:
            self._history.popleft()
        self._say_what_acts(now)

    @property
    def rates(self) -> tuple[float, float]:
        """Bits per second sent and received over the last ten seconds."""
        if len(self._history) < 2:
            return 0.0, 0.0
        last, carried, _ = self._history[-1]
        first = next(it for it in self._history if it[0] >= last - RATE_SECONDS - LOOK_SECONDS / 2)
        seconds, moved = last - first[0], carried - first[1]
        return (8 * moved.sent / seconds, 8 * moved.received / seconds) if seconds else (0.0, 0.0)

    def allowance(self) -> Allowance:
        """What this peer may claim as its link now."""
        limits = self._limits.limits
        if limits.upload is limits.download is limits.data_per_month is None:
            return NO_LIMIT
        sent, received = self._chatter()
        data = math.inf
        if limits.data_per_month is not None:
            data = sustained_rate(self._used, limits.data_per_month, time.time()) / self._sharers
        return Allowance(_payload(limits.upload, sent), _payload(limits.download, received), data)

    def sends_with(self, codec: str) -> None:
        self._codec = codec

    def times_rarer(self) -> float:
        """Than usual that this peer should look after the others, so that there is room for more.

        What others ask of it costs about as much, and is not its to choose.
        """
        allowance = self.allowance()
        if allowance == NO_LIMIT:
            return 1.0
        limits = self._limits.limits
        allowed = min(
            _CHATTER_SHARE * (limits.download or math.inf) / 8, _CHATTER_SHARE * allowance.data
        )
        wanted = self._rarer * self._chatter()[1] / allowed if allowed else math.inf
        # by steps: what is measured lags behind what was changed
        self._rarer = min(max(wanted, 0.9 * self._rarer, 1.0), 1.1 * self._rarer, _MOST_RARER)
        return self._rarer

    def describe(self, reply: control_pb2.StatusReply) -> None:
        """What is sent and received now, and what of the month's data is used."""
        reply.upload_bits_per_second, reply.download_bits_per_second = self.rates
        reply.month_bytes = self._used
        reply.month_budget_bytes = int(self._limits.limits.data_per_month or 0)

    @property
    def _used(self) -> int:
        """In this month, with what is not noted yet."""
        unkept = (self._history[-1][1] if self._history else self._kept) - self._kept
        return self.month_bytes + unkept.sent + unkept.received

    def _chatter(self) -> tuple[float, float]:
        """Bytes per second carried beside the frames of streams, sent and received."""
        if len(self._history) < 2:
            return 0.0, 0.0
        (first, carried, framed), (last, carried_by_now, framed_by_now) = (
            self._history[0],
            self._history[-1],
        )
        more = (carried_by_now - framed_by_now) - (carried - framed)
        seconds = last - first
        return max(0.0, more.sent / seconds), max(0.0, more.received / seconds)

    def _changed(self, limits: Limits) -> None:
        upload, download = (
            math.inf if it is None else it / 8 for it in (limits.upload, limits.download)
        )
        self.shaper.change(upload, download)

    def _say_what_acts(self, now: float) -> None:
        limits = self._limits.limits
        for name, flow in (("upload", self.shaper.upload), ("download", self.shaper.download)):
            if flow.limited and _held_lately(flow):
                self._limits.acts(name, f"held at {rate_text(8 * flow.rate)}")
            else:
                self._limits.ceases(name)
        done = [f"its work is sent with {self._codec}"] if self._codec else []
        if self._rarer > 1:
            done.append(f"it looks at the others {self._rarer:.1f} times more rarely")
        if limits.data_per_month is None or not done:
            self._limits.ceases("data_per_month")
            return
        used = f"{bytes_text(self._used)} of {bytes_text(limits.data_per_month)} used this month"
        self._limits.acts("data_per_month", "; ".join([used, *done]))

    # ---- counting ----------------------------------------------------------------------

    def _socket_meter(self) -> SocketMeter | None:
        try:
            return SocketMeter()
        except OSError as error:
            log.info("data used is estimated: %s", error)
            return None

    def _carried(self, framed: Carried) -> Carried:
        """By this process and its children so far."""
        if self._meter is not None:
            try:
                return self._meter.look(self._own_processes())
            except OSError as error:
                log.warning("data used is estimated from now on: %s", error)
                self._meter = None
                self._began = time.monotonic()
        unseen = _UNSEEN_RATE * (time.monotonic() - self._began)
        estimate = Carried(*(int(_UNSEEN_FACTOR * it + unseen) for it in _both(framed)))
        # never backwards, where an estimate follows on what was counted
        before = self._history[-1][1] if self._history else self._kept
        return Carried(*(max(pair) for pair in zip(_both(estimate), _both(before), strict=True)))

    def _own_processes(self) -> list[int]:
        at, pids = self._processes
        if time.monotonic() - at > _PROCESSES_SECONDS:
            own = psutil.Process()
            pids = [own.pid, *(it.pid for it in own.children(recursive=True))]
            self._processes = time.monotonic(), pids
        return pids

    async def _note_usage(self) -> None:
        carried = self._history[-1][1] if self._history else self._kept
        more = carried - self._kept
        today = datetime.now().date()
        try:
            self.month_bytes, runs = await anyio.to_thread.run_sync(self._write, more, today)
            self._sharers = max(1, runs)
        except (OSError, sqlite3.Error) as error:
            self._notices.trouble("usage", f"cannot note how much data was used: {error}")
        else:
            self._kept = carried
            self._notices.over("usage", "data used is noted again")

    def _write(self, more: Carried, today: date) -> tuple[int, int]:
        """The month's data and the day's runs."""
        if more != Carried():
            add_usage(self._state_dir, self._run_id, today, more.sent, more.received)
        used = used_this_month(self._state_dir, today)
        return used, runs_of_day(self._state_dir, today)


def _payload(bits_per_second: float | None, chatter: float) -> float:
    """Bytes per second of rounds that a limit leaves beside so many of chatter."""
    if bits_per_second is None:
        return math.inf
    rate = bits_per_second / 8
    return max(_LEAST_SHARE * rate, _PAYLOAD_SHARE * (rate - chatter))


def _held_lately(flow: Flow) -> bool:
    return anyio.current_time() - flow.held_at < RATE_SECONDS


def _both(carried: Carried) -> tuple[int, int]:
    return carried.sent, carried.received
