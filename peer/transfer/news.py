"""Something that several tasks wait for, again and again."""

from __future__ import annotations

import anyio


class News:
    """`tell` wakes all who `wait`."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def tell(self) -> None:
        self._event.set()
        self._event = anyio.Event()

    async def wait(self, seconds: float) -> None:
        """Until somebody tells, or `seconds` are over."""
        event = self._event
        with anyio.move_on_after(seconds):
            await event.wait()
