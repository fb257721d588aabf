"""The rates that this peer's streams keep, all together: what it sends, what it lets others send.

Sending is plain: bulk data waits for its turn, piece by piece, so that streams share the rate.
What others send would fill megabytes of buffers on its way before anybody here could hold it up.
So a peer that is limited tells each sender how much it takes, piece by piece (`Permit`), as the
windows of HTTP/2 do. Messages do not wait: bulk pays for them afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import anyio

from peer.swarm.bucket import Bucket

UNLIMITED = 2**64 - 1
FREE_BYTES = 16 * 1024
"""Data that each end of a stream may send before it has heard what the other takes."""
_AHEAD_SECONDS = 0.3
"""Data permitted and not yet there, of all streams together: enough for the way there and back."""


class Flow:
    """One direction."""

    def __init__(self) -> None:
        self.counted = 0
        """Bytes of frames so far."""
        self.held_at = -math.inf
        """When somebody last had to wait; monotonic seconds."""
        self._bucket = Bucket()
        self._queue = anyio.Lock()
        self._changed = anyio.Event()
        self._corrected = 0.0

    @property
    def limited(self) -> bool:
        return self._bucket.limited

    @property
    def rate(self) -> float:
        """Bytes per second; infinite for no limit."""
        return self._bucket.rate

    @property
    def piece(self) -> int:
        return self._bucket.piece

    def change(self, rate: float) -> None:
        self._bucket.change(rate, anyio.current_time())
        self._changed.set()
        self._changed = anyio.Event()

    def count(self, size: int) -> None:
        """These bytes pass now, whatever the rate; what waits its turn waits longer."""
        self.counted += size
        self._bucket.take(size, anyio.current_time())

    def give_back(self, size: int) -> None:
        """So many bytes were counted and have not passed."""
        self.counted -= size
        self._bucket.take(-size, anyio.current_time())

    def correct(self, carried: int) -> None:
        """The wire has carried so many bytes so far, with all that is not counted here."""
        difference = carried - self.counted
        self._bucket.take(difference - self._corrected, anyio.current_time())
        self._corrected = difference

    async def turn(self, size: int) -> None:
        """Wait, after those that came before, until so many bytes may pass; they are counted."""
        async with self._queue:
            await self.opened()
            self.count(size)

    async def opened(self) -> None:
        """Wait until something may pass."""
        while wait := self._bucket.wait(anyio.current_time()):
            self.held_at = anyio.current_time()
            with anyio.move_on_after(wait):
                await self._changed.wait()


class Permit:
    """How much data the other end of one stream may send, in all. Offsets count its data."""

    def __init__(self, flow: Flow, tell: Callable[[int], None]) -> None:
        """tell: sends an offset to the other end."""
        self.announced = FREE_BYTES if flow.limited else UNLIMITED
        self.on_grant: Callable[[], None] | None = None
        self._flow = flow
        self._tell = tell
        self._arrived = 0
        self._paid = 0
        self._wanted = 0

    @property
    def ahead(self) -> int:
        """Data that may come and has not."""
        return max(0, self.announced - self._arrived)

    @property
    def waits(self) -> bool:
        """Nothing can come before more is permitted."""
        return bool(self._wanted) and not self.ahead

    def want(self, size: int) -> None:
        """So much more data is waited for now."""
        self._wanted = size

    def came(self, size: int) -> None:
        """Data has arrived; what was not paid for when it was permitted is counted now."""
        self._arrived += size
        self._wanted = max(0, self._wanted - size)
        if self._arrived > self._paid:
            self._flow.count(self._arrived - self._paid)
            self._paid = self._arrived

    def room(self, most: int) -> int:
        """How much more may be permitted, if no more than `most` is to be under way."""
        return max(0, min(self._wanted, most) - self.ahead)

    def grant(self, size: int) -> None:
        self._flow.count(size)
        self._paid += size
        self._announce(max(self.announced, self._arrived) + size)

    def limit(self, limited: bool) -> None:
        """From now on there is a limit, or none any more."""
        if not limited:
            self._announce(UNLIMITED)
        elif self.announced == UNLIMITED:
            self._announce(self._arrived)

    def close(self) -> None:
        """Nothing more will come."""
        if self._paid > self._arrived:
            self._flow.give_back(self._paid - self._arrived)
            self._paid = self._arrived

    def _announce(self, offset: int) -> None:
        if offset != self.announced:
            self.announced = offset
            self._tell(offset)
            if self.on_grant is not None:
                self.on_grant()


class Shaper:
    """Both directions of all streams of this process. Needs `keep_granting` while it is limited."""

    def __init__(self) -> None:
        self.upload = Flow()
        self.download = Flow()
        self._permits: dict[Permit, None] = {}
        """Those of streams that wait for data, the one that is next in turn first."""
        self._news = anyio.Event()

    def change(self, upload: float, download: float) -> None:
        """Bytes per second from now on; infinite for no limit."""
        self.upload.change(upload)
        self.download.change(download)
        for permit in list(self._permits):
            permit.limit(self.download.limited)
        self._wake()

    def correct(self, sent: int, received: int) -> None:
        """So many bytes the wire has carried so far."""
        self.upload.correct(sent)
        self.download.correct(received)

    def wait_for(self, permit: Permit, size: int) -> None:
        """A stream waits for so much data; 0: for none."""
        permit.want(size)
        if not size:
            self._permits.pop(permit, None)
            return
        permit.limit(self.download.limited)
        self._permits.setdefault(permit)
        self._wake()

    def end(self, permit: Permit) -> None:
        self._permits.pop(permit, None)
        permit.close()

    def arrived(self) -> None:
        """Data has: who sent it may send more."""
        if self.download.limited:
            self._wake()

    async def keep_granting(self) -> None:
        """Permit data as the rate allows, in turns, until cancelled."""
        while True:
            if not self.download.limited or self._first() is None:
                await self._news.wait()
                continue
            await self.download.opened()
            permit = self._first()
            if permit is not None and self.download.limited:
                permit.grant(min(permit.room(self._most_ahead), self.download.piece))
                if permit in self._permits:
                    self._permits[permit] = self._permits.pop(permit)  # to the end of the queue

    @property
    def _most_ahead(self) -> int:
        """Data of one stream that may be under way."""
        together = self.download.rate * _AHEAD_SECONDS
        if not math.isfinite(together):
            return UNLIMITED
        return max(self.download.piece, int(together / len(self._permits)))

    def _first(self) -> Permit | None:
        if not self._permits:
            return None
        most = self._most_ahead
        return next((it for it in self._permits if it.room(most)), None)

    def _wake(self) -> None:
        self._news.set()
        self._news = anyio.Event()
