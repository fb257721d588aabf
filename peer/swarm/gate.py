"""Who may take part, as a network sees it: each end of a stream shows what lets it in.

The rule itself is not here: `Gate` is what the layers above pass in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import anyio

from peer.swarm.interface import Barred, Method

MAX_CREDENTIALS = 1024


class Gate(Protocol):
    """Decides whom a network deals with; asked once for each stream, so it must be quick."""

    def credentials(self) -> bytes:
        """What this peer shows to others, at most `MAX_CREDENTIALS` bytes."""

    def check(self, peer_id: str, credentials: bytes | None) -> None:
        """Raise `Barred`, with the reason, if a peer may not take part.

        credentials: what it shows; None before it could show any.
        """


class OpenGate:
    """Everybody may take part."""

    def credentials(self) -> bytes:
        return b""

    def check(self, peer_id: str, credentials: bytes | None) -> None:
        pass


OPEN: Gate = OpenGate()


@dataclass(eq=False)
class _Open:
    """A stream that is open now."""

    peer_id: str
    credentials: bytes | None
    end: Callable[[Barred], None]


class Served:
    """The time in which one stream is served; it may be ended from outside."""

    def __init__(self) -> None:
        self._scope = anyio.CancelScope()
        self._reason: Barred | None = None

    def end(self, reason: Barred) -> None:
        """Have `going_on` raise this, whatever is done in it."""
        self._reason = reason
        self._scope.cancel()

    @contextmanager
    def going_on(self) -> Iterator[None]:
        with self._scope:
            yield
        if self._reason is not None:
            raise self._reason


class GuardedStreams:
    """A network's streams, as far as its gate has a say in them."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._open: set[_Open] = set()

    def credentials(self) -> bytes:
        return self._gate.credentials()

    @contextmanager
    def opened(
        self, peer_id: str, method: Method[Any, Any], end: Callable[[Barred], None]
    ) -> Iterator[Callable[[bytes], None]]:
        """While a stream with a peer is open; `Barred` at once if there must be none.

        end: called if the gate comes to refuse the peer meanwhile. Gives what to call with the
        peer's credentials before anything else that it says is heard: it raises `Barred` too.
        """
        stream = _Open(peer_id, None, end)
        if method.for_anybody:
            yield lambda credentials: None
            return

        def meet(credentials: bytes) -> None:
            self._gate.check(peer_id, credentials)
            stream.credentials = credentials

        self._gate.check(peer_id, None)
        self._open.add(stream)
        try:
            yield meet
        finally:
            self._open.discard(stream)

    def review(self) -> None:
        """Ask the gate again about every open stream, and end those that it refuses now."""
        for stream in list(self._open):
            try:
                self._gate.check(stream.peer_id, stream.credentials)
            except Barred as reason:
                stream.end(reason)
