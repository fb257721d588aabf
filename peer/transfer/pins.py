"""States that downloads hold on to, so that they stay while the donor goes on to newer ones. Pure.

The same objects, not copies. A donor has the memory for a few of them, whoever asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from peer.averaging.state import GlobalState

MOST_PINNED = 2
LINGER_SECONDS = 30.0
"""After a download broke, its state stays so long for the joiner to come back."""

REPLAY_SECONDS = 120.0
"""After a download its receiver replays what the run did meanwhile, for so long."""


@dataclass
class _Pin:
    state: GlobalState
    users: int = 0
    until: float = 0.0
    """Without users it stays so long."""


class Pins:
    """What a donor has on offer: its own states, and those that are pinned."""

    def __init__(self, own: Callable[[], Sequence[GlobalState]]) -> None:
        self._own = own
        self._pins: dict[bytes, _Pin] = {}
        self._given: dict[int, float] = {}
        """Rounds whose states were downloaded to the end, and until when what follows is asked."""

    def offers(self, now: float) -> list[GlobalState]:
        """States that can be downloaded from here; the newest of its own come first."""
        self.expire(now)
        pinned = [pin.state for pin in self._pins.values()]
        if sum(pin.users > 0 for pin in self._pins.values()) >= MOST_PINNED:
            return pinned
        own = list(self._own())
        return own + [it for it in pinned if all(it.digest != mine.digest for mine in own)]

    def pin(self, digest: bytes, now: float) -> GlobalState | None:
        """Hold on to a state, if it is on offer."""
        state = next((it for it in self.offers(now) if it.digest == digest), None)
        if state is not None:
            self._pins.setdefault(digest, _Pin(state)).users += 1
            self._drop_spare()
        return state

    def release(self, digest: bytes, now: float, *, broke: bool) -> None:
        """One user less. broke: it may come back."""
        pin = self._pins[digest]
        pin.users -= 1
        if broke:
            pin.until = now + LINGER_SECONDS
        else:
            self._given[pin.state.round] = now + REPLAY_SECONDS
        self.expire(now)

    def expire(self, now: float) -> None:
        """Let go of what nobody uses and nobody came back to."""
        self._pins = {
            digest: pin for digest, pin in self._pins.items() if pin.users or pin.until > now
        }
        self._given = {round_: until for round_, until in self._given.items() if until > now}

    def rounds(self) -> list[int]:
        """The rounds of the pinned states, the oldest first."""
        return sorted(pin.state.round for pin in self._pins.values())

    def needed_since(self, now: float) -> list[int]:
        """The same, and the rounds of states that a joiner has just got all of."""
        self.expire(now)
        return sorted({*self.rounds(), *self._given})

    def _drop_spare(self) -> None:
        """Where there are too many, those go that nobody uses."""
        unused = sorted((pin.until, digest) for digest, pin in self._pins.items() if not pin.users)
        for _, digest in unused[: max(0, len(self._pins) - MOST_PINNED)]:
            del self._pins[digest]
