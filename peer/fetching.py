"""One download of a state after the other: what has arrived of the last one is not lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from peer.averaging.coverage import decoded
from peer.averaging.lineage import Lineage
from peer.averaging.malformed import Malformed
from peer.averaging.state import GlobalState
from peer.membership import Position
from peer.swarm.interface import Network, Unreachable
from peer.transfer.download import Download


class Fetcher:
    """Kept by a peer as long as it lives, over all its networks."""

    def __init__(
        self, lineage: Lineage, head: Callable[[], Position | None], tell: Callable[[str], None]
    ) -> None:
        """head: where the run stands just now; tell: hears how far it is, in words."""
        self._lineage = lineage
        self._head = head
        self._tell = tell
        self._download: Download | None = None
        self._told = ""

    async def fetch(
        self, network: Network, donors: Sequence[str], at: Position, parameters: int
    ) -> GlobalState:
        """The state `at`, or a later one that the run stands at by then.

        Raises `Unreachable` if `donors` cannot give it all; what has come is kept for the next
        time.
        """
        download = self._download
        if download is None or download.wanted != at:
            download = Download(at, parameters, self._choose, self._hear)
        self._download = download
        state = await download.run(network, donors)
        self._download = None
        require_readable(state)
        return state

    def forget(self) -> None:
        """What was being downloaded is not needed any more."""
        self._download = None

    async def _choose(self, offers: Sequence[Position]) -> Position | None:
        """The newest that a donor has of the run's own history."""
        head = self._head()
        if head is None:
            return None
        known = [it for it in offers if self._lineage.descends(head.digest, it.digest)]
        return max(known, key=lambda it: it.round, default=None)

    def _hear(self, progress: object) -> None:
        download = self._download
        words = download.progress.describe() if download is not None else ""
        if words and words != self._told:
            self._told = words
            self._tell(words)


def require_readable(state: GlobalState) -> None:
    """`Unreachable` if a state's coverage is none: no round could be made of it."""
    try:
        decoded(state.coverage)
    except Malformed as error:
        raise Unreachable(str(error)) from error
