"""What the peers' connections allow: who owns how much, how long an exchange takes. Pure.

In a butterfly of n members that share a vector of B encoded bytes, the owner of a share s sends
and receives (1 - s) B of its own contributions and (n - 1) s B of answers, so B (1 + (n - 2) s)
each way. Shares follow from making the slowest as fast as can be.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from peer.averaging.codec_names import codec_named
from swarmpb.spec import RoundSpec
from swarmpb.v1 import swarm_pb2

FASTEST = 125_000_000
"""Bytes per second; beyond a gigabit per second, other things than the link decide."""
SLOWEST = 1_000
REMEMBERED_EXCHANGES = 8
FAST_ENOUGH_SECONDS = 1.0
"""Differences between links that are faster than this do not show in a round."""
STAR_SECONDS = 0.05
"""A star whose centre is done with its link in so little time beats a butterfly (measured)."""
UNSEEN_RATE = 1_000_000
"""Bytes per second that a link is trusted with before it has shown what it can."""
LEVEL = 1.7
EXCHANGE_SHARE = 0.2
"""Share of a round that its exchange may take: the answer's delay costs quality."""


@dataclass(frozen=True)
class Link:
    """A peer's connection as seen in its exchanges, bytes per second; 0 while not known."""

    upload: int = 0
    download: int = 0
    client_mode: bool = False

    @property
    def both_ways(self) -> int:
        """What it carries in each direction at once; 0 while not known.

        Who owns nothing is not uploaded to, so one direction may have to stand for both.
        """
        return min((rate for rate in (self.upload, self.download) if rate), default=0)


UNKNOWN = Link()


@dataclass(frozen=True)
class Allowance:
    """What a peer's user allows, bytes per second; infinite without a limit."""

    upload: float = math.inf
    download: float = math.inf
    data: float = math.inf
    """Both ways together and on average, until the month ends."""

    def of(self, link: Link) -> Link:
        """What a peer with this link may claim: also before it has shown what it can.

        No direction claims more than the data that is left for each second: an exchange takes a
        fifth of a round, so that both ways of rounds take two fifths of it, and who downloads a
        state here, at half of the claim at most, the half.
        """
        upload, download = (
            _at_most(rate, min(limit, self.data))
            for rate, limit in ((link.upload, self.upload), (link.download, self.download))
        )
        return Link(upload, download, link.client_mode)


NO_LIMIT = Allowance()


def _at_most(rate: int, limit: float) -> int:
    if math.isinf(limit):
        return rate
    return max(SLOWEST, min(rate or FASTEST, int(limit)))


class User:
    """Has a say in what this peer does with its network; this one allows everything."""

    def allowance(self) -> Allowance:
        return NO_LIMIT

    def sends_with(self, codec: str) -> None:
        """Its own parts travel with this codec in place of the run's; empty: with the run's."""


class LinkMeter:
    """A peer's link from the exchanges that it took part in: the best of the last few.

    A transfer shows what its whole way carried just then; the best of several comes close to
    what the link itself can.
    """

    def __init__(self) -> None:
        self.user = User()
        self._seen: deque[Link] = deque(maxlen=REMEMBERED_EXCHANGES)

    def add(self, seen: Link) -> None:
        """Take what one exchange has shown; nothing, if it was too short to show anything."""
        if seen.upload or seen.download:
            self._seen.append(seen)

    @property
    def link(self) -> Link:
        shown = Link(
            max((seen.upload for seen in self._seen), default=0),
            max((seen.download for seen in self._seen), default=0),
        )
        return self.user.allowance().of(shown)


def parse_link(message: swarm_pb2.Link) -> Link:
    """A peer's word for its connection, within bounds."""
    upload, download = (
        min(max(rate, SLOWEST), FASTEST) if rate else 0
        for rate in (message.upload, message.download)
    )
    return Link(upload, download, message.client_mode)


def link_message(link: Link) -> swarm_pb2.Link:
    return swarm_pb2.Link(upload=link.upload, download=link.download, client_mode=link.client_mode)


def owned_units(units: int, encoded_bytes: int, links: Sequence[Link], turn: int = 0) -> list[int]:
    """How many of a vector's units each member owns: what its link has left beside its own work.

    A link that carries the `encoded_bytes` of the whole vector in a second is as good as any; one
    of which nothing is known counts as the median of the others. Members in client mode own
    nothing, unless all are. turn: any number, another one for each try.
    """
    if (centre := star_centre(encoded_bytes, links, turn)) is not None:
        return [units if member == centre else 0 for member in range(len(links))]
    fast_enough = encoded_bytes / FAST_ENOUGH_SECONDS
    rates = _levelled([min(rate, fast_enough) for rate in _owners_rates(links)])
    if not any(rates):
        rates = [1.0] * len(links)
    return _rounded(units, _shares(rates))


def star_centre(encoded_bytes: int, links: Sequence[Link], turn: int) -> int | None:
    """The one owner of everything, where that is faster than a butterfly; None where it is not.

    It is for small vectors and few members: each stream costs more than what it carries. Those
    that are able take turns: one that fails is seldom the next try's centre.
    """
    carried = (len(links) - 1) * encoded_bytes
    able = [
        member
        for member, link in enumerate(links)
        if not link.client_mode and carried <= STAR_SECONDS * (link.both_ways or UNSEEN_RATE)
    ]
    return able[turn % len(able)] if able else None


def exchange_seconds(encoded_bytes: int, links: Sequence[Link]) -> float:
    """How long these links take for an exchange of so many bytes; 0 while nothing is known."""
    if len(links) < 2 or not any(link.both_ways for link in links):
        return 0.0
    rates, shares = _rates(links), _shares(_owners_rates(links))
    extra = max(len(links) - 2, 0)
    return max(
        encoded_bytes * (1 + extra * share) / rate
        for share, rate in zip(shares, rates, strict=True)
    )


def shortest_round(encoded_bytes: int, links: Sequence[Link], longest: float) -> float:
    """Seconds between cuts that the slowest useful link sustains, at most `longest`.

    A link that would need more than `longest` is not useful: nobody waits for it, it is in the
    round when its bytes arrive in time.
    """
    useful = [
        link
        for link in links
        if not link.both_ways or encoded_bytes / link.both_ways <= EXCHANGE_SHARE * longest
    ]
    if len(useful) < 2 <= len(links):
        return longest
    return min(exchange_seconds(encoded_bytes, useful) / EXCHANGE_SHARE, longest)


def sustained_round(spec: RoundSpec, parameters: int, links: Sequence[Link]) -> float:
    """Seconds between two cuts that the slowest useful link sustains with this spec's codec."""
    codec = codec_named(spec.codec)
    return shortest_round(codec.encoded_bytes(parameters), links, spec.max_seconds)


def _rates(links: Sequence[Link]) -> list[float]:
    """What each link carries both ways; the median of the others where that is not known."""
    known = [link.both_ways for link in links if link.both_ways]
    usual = float(median(known)) if known else 1.0
    return [float(link.both_ways or usual) for link in links]


def _owners_rates(links: Sequence[Link]) -> list[float]:
    """The same, 0 for members that may own nothing."""
    return [
        0.0 if link.client_mode else rate for link, rate in zip(links, _rates(links), strict=True)
    ]


def _levelled(rates: Sequence[float]) -> list[float]:
    """Rates near the usual one count as the usual one: measuring is no more exact than that."""
    usual = median(rate for rate in rates if rate) if any(rates) else 0.0
    return [usual if usual / LEVEL < rate < usual * LEVEL else rate for rate in rates]


def _shares(rates: Sequence[float]) -> list[float]:
    """The shares of owners with these rates (0: may own nothing), by filling up the fastest first.

    All owners finish at one time T with B (1 + (n - 2) s) / rate = T; who needs longer for its own
    contributions alone owns nothing.
    """
    extra = len(rates) - 2
    able = sorted((rate for rate in rates if rate > 0), reverse=True)
    if not able:
        return [1 / len(rates)] * len(rates)
    if extra <= 0:
        return [1 / len(able) if rate > 0 else 0.0 for rate in rates]
    finish = 0.0
    for owners in range(1, len(able) + 1):
        finish = (extra + owners) / sum(able[:owners])
        if owners == len(able) or finish * able[owners] <= 1:
            break
    return [max(0.0, finish * rate - 1) / extra for rate in rates]


def _rounded(units: int, shares: Sequence[float]) -> list[int]:
    """Whole units in these shares, which add up to one; ties go to the earlier member."""
    total, bounds = 0.0, [0]
    for share in shares:
        total += share
        bounds.append(min(units, round(units * total)))
    bounds[-1] = units
    return [stop - start for start, stop in pairwise(bounds)]
