"""Tapes: plans drawn at random, the same for the same seed, that leave the run alive."""

from __future__ import annotations

from random import Random

from tests.faults.plan import (
    Fault,
    Freeze,
    Join,
    Kill,
    Leave,
    Place,
    Plan,
    Point,
    Return,
    Split,
)

FIRST_ROUND = 2
"""Nothing happens sooner."""
CALM_ROUNDS = 3
"""In the end nothing happens for so long, so that all can be seen to come back."""
_FREEZE_SECONDS = (1.0, 4.0, 8.0, 12.0)
_KILLS = (
    Point(Place.SENDING),
    Point(Place.ANSWERING, 2),
    None,
    Point(Place.BEFORE_VOTE),
    Point(Place.CHECKPOINT),
    Point(Place.AFTER_VOTE),
    Point(Place.AFTER_CUT),
    Point(Place.BEFORE_CUT),
)
"""The first of these come first: in the middle of an upload, as an owner after some answers."""
_FREEZES = (None, Point(Place.SENDING, 1), Point(Place.AFTER_CUT), Point(Place.BEFORE_VOTE))


def tape(seed: int, peers: int, rounds: int) -> Plan:
    """A plan for so many peers and rounds.

    At any time a majority of those that have joined is up, and more than half of the peers are
    never killed. Faults follow each other: who is killed is back, and who is cut off is together
    again, before the next one.
    """
    if peers < 3 or rounds < FIRST_ROUND + CALM_ROUNDS + 3:
        raise ValueError("a tape needs 3 peers and 8 rounds")
    return _Drawing(seed, peers, rounds).drawn()


class _Drawing:
    def __init__(self, seed: int, peers: int, rounds: int) -> None:
        self._random = Random(f"tape {seed} {peers} {rounds}")
        self._peers = peers
        self._rounds = rounds
        # a short tape has no time for all of them
        late = min(peers // 4, rounds - FIRST_ROUND - CALM_ROUNDS - 2)
        first = peers - late
        self._to_join = list(range(first, peers))
        self._present = list(range(first))
        # the rest survives
        self._mortal = sorted(self._random.sample(self._present, (peers - 1) // 2))
        self._faults: list[Fault] = []
        self._kills = 0
        self._frozen = 0

    def drawn(self) -> Plan:
        acts = self._acts()
        begin, end = FIRST_ROUND, self._rounds - CALM_ROUNDS
        length = (end - begin) / len(acts)
        for index, act in enumerate(acts):
            start, stop = round(begin + index * length), round(begin + (index + 1) * length)
            getattr(self, f"_{act}")(start, max(start + 1, stop - 1))
        return Plan(tuple(self._faults))

    def _acts(self) -> list[str]:
        """In which order what happens; as many as there is time for."""
        room = max(2, (self._rounds - FIRST_ROUND - CALM_ROUNDS) // 4)
        acts = ["join"] * len(self._to_join)
        if room > len(acts) + 3 and self._peers > 4:
            acts += ["split"]
        left = max(2, room - len(acts) - (len(self._mortal) > 1))
        acts += ["kill"] * (left - left // 2) + ["freeze"] * (left // 2)
        self._random.shuffle(acts)
        if len(self._mortal) > 1 and room > len(acts):
            # not before all are there, and somebody is left to be killed
            after = max((at for at, act in enumerate(acts) if act == "join"), default=0)
            acts.insert(self._random.randint(after + 1, len(acts)), "leave")
        return acts

    def _kill(self, start: int, stop: int) -> None:
        victim = self._random.choice(self._mortal)
        point = _KILLS[self._kills % len(_KILLS)]
        self._kills += 1
        self._faults += [Kill(victim, start, point), Return(victim, stop)]

    def _freeze(self, start: int, stop: int) -> None:
        victim = self._random.choice(self._present)
        seconds = self._random.choice(_FREEZE_SECONDS)
        point = _FREEZES[self._frozen % len(_FREEZES)]
        self._frozen += 1
        self._faults.append(Freeze(victim, start, seconds, point))

    def _join(self, start: int, stop: int) -> None:
        newcomer = self._to_join.pop(0)
        self._present.append(newcomer)
        self._faults.append(Join(newcomer, start))

    def _leave(self, start: int, stop: int) -> None:
        leaver = self._random.choice(self._mortal)
        self._mortal.remove(leaver)
        self._present.remove(leaver)
        self._faults.append(Leave(leaver, start))

    def _split(self, start: int, stop: int) -> None:
        few = self._random.sample(self._present, (len(self._present) - 1) // 2)
        many = [peer for peer in range(self._peers) if peer not in few]
        self._faults.append(Split((tuple(sorted(few)), tuple(many)), start, min(3, stop - start)))
