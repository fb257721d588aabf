"""A machine that shows what a test says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from peer.resting.observing import Senses


@dataclass
class Seen:
    """Senses that tell what a test says, and what they were asked."""

    battery: bool | Exception = False
    idle: float | None = 0.0
    heat: float | None = 40.0
    running: tuple[str, ...] = ()
    data: float = 0.0
    asked: list[str] = field(default_factory=list)
    looks: dict[str, Callable[[], Any]] = field(default_factory=dict)
    """What is done instead, for some."""

    def senses(self) -> Senses:
        return Senses(
            lambda: self._tell("battery"),
            lambda now, wall: self._tell("idle"),
            lambda: self._tell("heat"),
            lambda listed, now: self._tell("running"),
            lambda today: self._tell("data"),
        )

    def _tell(self, what: str) -> Any:
        self.asked.append(what)
        if what in self.looks:
            return self.looks[what]()
        found = getattr(self, what)
        if isinstance(found, Exception):
            raise found
        return found
