"""The donors of one download: whom to ask next, who is sending, who failed and why. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from peer.swarm.interface import short
from peer.transfer.progress import Waiting

MAX_DONORS = 4
"""Donors that send at a time."""
MAX_QUEUES = 4
"""Donors in whose queue a joiner stands at a time."""
TRIES_A_DONOR = 3


class Candidates:
    """Donors by id; each is willing, asked, waited for, sending, resting, or out of it."""

    def __init__(self, donors: Iterable[str]) -> None:
        """donors: the ones to ask, in this order."""
        self._willing = deque(donors)
        self._asked: set[str] = set()
        self._waited: dict[str, Waiting] = {}
        self._resting: set[str] = set()
        self._lacking: list[str] = []
        """These have another state by now."""
        self._failures: Counter[str] = Counter()
        self._reasons: dict[str, str] = {}
        self.sending: set[str] = set()

    @property
    def willing(self) -> int:
        """How many are yet to be asked."""
        return len(self._willing)

    @property
    def waiting(self) -> tuple[Waiting, ...]:
        return tuple(self._waited.values())

    @property
    def helping(self) -> int:
        """How many send, or will at once."""
        return len(self._asked) + len(self.sending)

    def next(self) -> str | None:
        """Another donor to ask, if one more is needed and to be had."""
        enough = self.helping >= MAX_DONORS or len(self._waited) >= MAX_QUEUES
        if enough or not self._willing:
            return None
        donor = self._willing.popleft()
        self._asked.add(donor)
        return donor

    def others(self, donor: str) -> bool:
        """Whether anybody besides this one may still give something."""
        here = {*self._willing, *self._asked, *self._waited, *self._resting, *self.sending}
        return bool(here - {donor})

    @property
    def any(self) -> bool:
        return self.others("")

    def waits(self, waiting: Waiting) -> None:
        """A donor has others to serve first."""
        self._asked.discard(waiting.donor)
        self._waited[waiting.donor] = waiting

    def begins(self, donor: str) -> bool:
        """A donor's turn has come. False if enough others send by now."""
        self._leave(donor)
        if len(self.sending) >= MAX_DONORS:
            self._willing.append(donor)
            return False
        self.sending.add(donor)
        return True

    def delivered(self, donor: str) -> None:
        """It is of use: what failed before is forgiven."""
        self._failures.pop(donor, None)

    def failed(self, donor: str, why: str) -> bool:
        """It broke off. Whether it may be tried `again`, after a rest."""
        self._leave(donor)
        self._reasons[donor] = why
        self._failures[donor] += 1
        if self._failures[donor] >= TRIES_A_DONOR:
            return False
        self._resting.add(donor)
        return True

    def again(self, donor: str) -> None:
        self._resting.discard(donor)
        self._willing.append(donor)

    def is_out(self, donor: str, why: str) -> None:
        """It is not asked again."""
        self._leave(donor)
        self._reasons[donor] = why

    def lacks(self, donor: str, why: str) -> None:
        """It has not got this state, but may have the next one that is wanted."""
        self.is_out(donor, why)
        self._lacking.append(donor)

    def want_another(self) -> None:
        """Another state is wanted: who lacked the old one is worth asking."""
        self._willing.extend(self._lacking)
        self._lacking.clear()

    def describe(self) -> str:
        """Why those failed that did."""
        return "; ".join(f"{short(donor)}: {why}" for donor, why in self._reasons.items())

    def _leave(self, donor: str) -> None:
        self._asked.discard(donor)
        self._waited.pop(donor, None)
        self.sending.discard(donor)
