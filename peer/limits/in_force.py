"""The limits that hold now, and what each of them does at this moment."""

from __future__ import annotations

from collections.abc import Callable

from peer.limits.settings import Limits


class LimitsInForce:
    """Changed while a peer runs; whoever enforces a limit says when it acts."""

    def __init__(self, limits: Limits) -> None:
        self.on_change: list[Callable[[Limits], None]] = []
        """Called with the new limits, in the daemon's event loop."""
        self.on_slow: list[Callable[[], None]] = []
        """Called when `slowed_to` has changed."""
        self.slowed_to = 1.0
        """The share of its time that a trainer may compute, so that the machine stays cool."""
        self._limits = limits
        self._acting: dict[str, str] = {}

    @property
    def limits(self) -> Limits:
        return self._limits

    def change(self, limits: Limits) -> None:
        """Have these hold from now on."""
        if limits == self._limits:
            return
        self._limits = limits
        for tell in self.on_change:
            tell(limits)

    def slow_to(self, share: float) -> None:
        """Have trainers compute this share of their time."""
        if share != self.slowed_to:
            self.slowed_to = share
            for tell in self.on_slow:
                tell()

    def acts(self, name: str, words: str) -> None:
        """The limit `name` holds something back now: "upload", "held at 2 Mbit/s"."""
        self._acting[name] = words

    def ceases(self, name: str) -> None:
        """It holds nothing back any more."""
        self._acting.pop(name, None)

    def acting(self) -> dict[str, str]:
        """What each limit that acts now does, by its name."""
        return dict(self._acting)
