"""Which peers share a history, and where it stands: a split swarm told from one with stragglers.

Pure. Peers are *kin* if one's state descends from the other's, as far as their records tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from peer.membership import PeerFacts, Position

Half = tuple[PeerFacts, ...]


def halves(peers: Sequence[PeerFacts]) -> list[Half]:
    """The peers that have a state, by kinship; usually one half that is the whole."""
    found: list[list[PeerFacts]] = []
    for peer in peers:
        if peer.position is None:
            continue
        akin = [half for half in found if any(_kin(peer, other) for other in half)]
        found = [half for half in found if half not in akin]
        found.append([peer, *(other for half in akin for other in half)])
    return [tuple(half) for half in found]


def _kin(one: PeerFacts, other: PeerFacts) -> bool:
    if one.position is None or other.position is None:
        return False
    return (
        one.position == other.position
        or one.position.digest in other.recent
        or other.position.digest in one.recent
    )


def head(
    others: Sequence[PeerFacts],
    own: PeerFacts | None = None,
    distrusted: Collection[Position] = (),
) -> Position | None:
    """The state that the run stands at: the one that most peers of the largest half hold.

    One peer that claims a far round is outvoted, so it stops nobody. Ties go to the later
    round, then to the smaller digest. `own` has a vote too.
    """
    trusted = [peer for peer in others if peer.position not in distrusted]
    parties = halves([*trusted, own] if own is not None else trusted)
    if not parties:
        return None
    fronts = [(sum(map(_voice, half)), front(half)) for half in parties]
    most = max((size, position.round) for size, position in fronts)
    tied = [position for size, position in fronts if (size, position.round) == most]
    return min(tied, key=lambda it: it.digest)


def _voice(peer: PeerFacts) -> int:
    """Those that go on outvote as many that have come back with older states."""
    return 1 if peer.resumed else 2


def front(half: Half) -> Position:
    """The state that most peers of a half hold.

    Peers that have just come back with a checkpoint vote for the newest state of their history:
    after everybody was gone, the run goes on from the newest round that anybody has kept.
    """
    positions = [peer.position for peer in half if peer.position is not None]
    newest = min(positions, key=lambda it: (-it.round, it.digest))
    votes = Counter(
        newest if peer.resumed else peer.position for peer in half if peer.position is not None
    )
    return min(votes, key=lambda it: (-votes[it], -it.round, it.digest))


def is_behind(own: Position, at: Position, ancestors: Collection[bytes] = ()) -> bool:
    """Whether a peer at `own` has to move to the head `at`; one whose state descends from it not.

    ancestors: digests of the states that `own` descends from, as far back as is known.
    """
    if at == own or at.digest in ancestors:
        return False
    return at.round >= own.round - len(ancestors)


def yielding(
    others: Sequence[PeerFacts], ancestors: Collection[bytes], least: int = 1
) -> Position | None:
    """The state of another half that waits to be taken in; None without one.

    least: peers that a half must have, so that nobody's made-up state is merged on his word alone.
    """
    waiting = tuple(
        peer
        for peer in others
        if peer.yields and peer.position is not None and peer.position.digest not in ancestors
    )
    half = max(halves(waiting), key=len, default=())
    return front(half) if len(half) >= max(1, least) else None


def is_taken_in(others: Sequence[PeerFacts], own: Position, at: Position) -> bool:
    """Whether the state `at` descends from `own`, as those who hold it say."""
    return any(peer.position == at and own.digest in peer.recent for peer in others)
