"""What this machine's user should know: said once in the log, shown by `peer status` meanwhile."""

from __future__ import annotations

import logging
import time
from collections import deque

log = logging.getLogger(__name__)

EVENT_SECONDS = 600.0
"""What is over is shown for so long."""
_KEPT_EVENTS = 8


class Notices:
    """Troubles that last, by what they are about, and things that happened."""

    def __init__(self) -> None:
        self._troubles: dict[str, str] = {}
        self._events: deque[tuple[float, str]] = deque(maxlen=_KEPT_EVENTS)

    def trouble(self, about: str, text: str) -> None:
        """Something does not work; said when it begins, however often it is tried again."""
        if about not in self._troubles:
            log.warning("%s", text)
        self._troubles[about] = text

    def over(self, about: str, text: str) -> None:
        """It works (again): said if there was trouble."""
        if self._troubles.pop(about, None) is not None:
            self.tell(text)

    def tell(self, text: str) -> None:
        """Something happened."""
        log.warning("%s", text)
        self._events.append((time.monotonic(), text))

    def current(self) -> list[str]:
        """What lasts, then what happened lately, the newest last."""
        now = time.monotonic()
        lately = [text for at, text in self._events if now - at < EVENT_SECONDS]
        return [*self._troubles.values(), *lately]
