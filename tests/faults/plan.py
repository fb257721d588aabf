"""Plans of faults: what happens to which peer, in which round, at which point of the protocol.

One fault a line, `#` begins a comment:

    kill peer 3 at round 12 after sending half its parts
    return peer 3 at round 18
    freeze peer 5 at round 9 before voting for 6 s
    leave peer 1 at round 30
    join peer 6 at round 15
    split 0 1 2 | 3 4 5 6 7 at round 40 for 3 rounds

*Round n* is the one that starts from state n. A fault without a point happens as soon as somebody
holds that state; one with a point, the first time from that round on that its peer gets there.
A peer that joins is away until then; one that returns was killed or has left, and has its files:
it comes at its round, or as soon as it is gone.
Pure: `simulated.py` and `faulty_peer.py` carry plans out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

MAX_PEERS = 64
MAX_ROUND = 1_000_000
MAX_SECONDS = 3600.0


class PlanError(ValueError):
    """A plan that cannot be carried out; `problems` has one line for each fault in it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Place(Enum):
    """A point that a peer passes; `{}` stands for how far it has come."""

    BEFORE_CUT = "before its cut"
    AFTER_CUT = "after its cut"
    SENDING = "after sending {}"
    ANSWERING = "after answering {}"
    BEFORE_VOTE = "before voting"
    AFTER_VOTE = "after voting"
    DOWNLOADING = "while downloading half the state"
    CHECKPOINT = "while writing a checkpoint"


COUNTED = (Place.SENDING, Place.ANSWERING)


@dataclass(frozen=True)
class Point:
    """Where in its round a peer is hit."""

    place: Place
    parts: int = 0
    """Of `COUNTED` places: after so many; 0: after half of them."""

    def __str__(self) -> str:
        many = f"{self.parts} part{'s' if self.parts != 1 else ''}" if self.parts else None
        return self.place.value.format(many or "half its parts")


@dataclass(frozen=True)
class Kill:
    """SIGKILL."""

    peer: int
    round: int
    point: Point | None = None

    def __str__(self) -> str:
        return f"kill peer {self.peer} at round {self.round}{_at(self.point)}"


@dataclass(frozen=True)
class Freeze:
    """SIGSTOP, and SIGCONT later."""

    peer: int
    round: int
    seconds: float
    point: Point | None = None

    def __str__(self) -> str:
        return (
            f"freeze peer {self.peer} at round {self.round}{_at(self.point)} for {self.seconds:g} s"
        )


@dataclass(frozen=True)
class Leave:
    """SIGTERM: the peer says goodbye."""

    peer: int
    round: int

    def __str__(self) -> str:
        return f"leave peer {self.peer} at round {self.round}"


@dataclass(frozen=True)
class Join:
    """A peer comes that was never there before."""

    peer: int
    round: int

    def __str__(self) -> str:
        return f"join peer {self.peer} at round {self.round}"


@dataclass(frozen=True)
class Return:
    """A peer that was killed or has left comes back with its files."""

    peer: int
    round: int

    def __str__(self) -> str:
        return f"return peer {self.peer} at round {self.round}"


@dataclass(frozen=True)
class Split:
    """No packet passes between the sides until the one that goes on has made `rounds` rounds.

    Who is on none is on the last one.
    """

    sides: tuple[tuple[int, ...], ...]
    round: int
    rounds: int

    def all_sides(self, peers: int) -> list[list[int]]:
        """Where each of so many peers is."""
        sides = [list(side) for side in self.sides]
        named = {peer for side in sides for peer in side}
        sides[-1] += [peer for peer in range(peers) if peer not in named]
        return sides

    def __str__(self) -> str:
        sides = " | ".join(" ".join(map(str, side)) for side in self.sides)
        return f"split {sides} at round {self.round} for {self.rounds} rounds"


Fault = Kill | Freeze | Leave | Join | Return | Split


def _at(point: Point | None) -> str:
    return f" {point}" if point else ""


@dataclass(frozen=True)
class Plan:
    """Faults in the order of their lines."""

    faults: tuple[Fault, ...] = ()

    def __str__(self) -> str:
        """The text that `parse` takes."""
        return "".join(f"{fault}\n" for fault in self.faults)

    def at_points(self, peer: int) -> list[Kill | Freeze]:
        """The faults that a peer meets at points of its own protocol."""
        return [
            it
            for it in self.faults
            if isinstance(it, Kill | Freeze) and it.peer == peer and it.point is not None
        ]

    def from_outside(self) -> list[Fault]:
        """The others, in the order of their rounds."""
        outside = (it for it in self.faults if getattr(it, "point", None) is None)
        return sorted(outside, key=lambda it: it.round)

    @property
    def late(self) -> frozenset[int]:
        """Peers that are not there in the beginning."""
        return frozenset(it.peer for it in self.faults if isinstance(it, Join))

    def killed(self) -> frozenset[int]:
        return frozenset(it.peer for it in self.faults if isinstance(it, Kill))


# ---- reading ---------------------------------------------------------------------------

_ROUND = r"at round (?P<round>\d+)"
_PEER = r"peer (?P<peer>\d+)"
_POINT = r"(?: (?P<point>(?:before|after|while) .+?))?"
_SECONDS = r"for (?P<seconds>\d+(?:\.\d+)?) s"
_PARTS = re.compile(r"after (sending|answering) (?:(half) its parts|(\d+) parts?)")


def parse(text: str, peers: int = MAX_PEERS) -> Plan:
    """A plan for so many peers; `PlanError` names every line that is wrong, and why."""
    faults: list[tuple[int, Fault]] = []
    problems: list[str] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = " ".join(raw.partition("#")[0].split())
        if not line:
            continue
        try:
            faults.append((number, _fault(line)))
        except ValueError as error:
            problems.append(f"line {number}: {error}")
    problems += [] if problems else _contradictions(faults, peers)
    if problems:
        raise PlanError(problems)
    return Plan(tuple(fault for _, fault in faults))


def _fault(line: str) -> Fault:
    verb = line.partition(" ")[0]
    if verb not in _KINDS:
        raise ValueError(f"{verb!r} is none of {', '.join(_KINDS)}")
    pattern, form, make = _KINDS[verb]
    found = pattern.fullmatch(line)
    if found is None:
        raise ValueError(f"not of the form: {form}")
    if int(found["round"]) > MAX_ROUND:
        raise ValueError(f"a round above {MAX_ROUND}")
    return make(found)


def _point(text: str | None) -> Point | None:
    if text is None:
        return None
    if counted := _PARTS.fullmatch(text):
        place = Place.SENDING if counted[1] == "sending" else Place.ANSWERING
        if counted[3] == "0":
            raise ValueError("after 0 parts: say 1 or more")
        return Point(place, int(counted[3] or 0))
    for place in Place:
        if place.value == text:
            return Point(place)
    known = ", ".join(place.value.format("half its parts") for place in Place)
    raise ValueError(f"no such point: {text!r}; there are: {known}")


def _freeze(found: re.Match[str]) -> Freeze:
    seconds = float(found["seconds"])
    if not 0 < seconds <= MAX_SECONDS:
        raise ValueError(f"freeze for more than 0 and at most {MAX_SECONDS:g} s")
    return Freeze(int(found["peer"]), int(found["round"]), seconds, _point(found["point"]))


def _split(found: re.Match[str]) -> Split:
    sides = tuple(tuple(map(int, side.split())) for side in found["sides"].split("|"))
    named = [peer for side in sides for peer in side]
    if len(named) != len(set(named)):
        raise ValueError("a peer on two sides")
    if int(found["rounds"]) < 1:
        raise ValueError("split for at least 1 round")
    return Split(sides, int(found["round"]), int(found["rounds"]))


def _kind(pattern: str, form: str, make: Callable[[re.Match[str]], Fault]) -> tuple[
    re.Pattern[str], str, Callable[[re.Match[str]], Fault]
]:  # fmt: skip
    return re.compile(pattern), form, make


def _simple(verb: str, make: Callable[[int, int], Fault]) -> tuple[
    re.Pattern[str], str, Callable[[re.Match[str]], Fault]
]:  # fmt: skip
    return _kind(
        rf"{verb} {_PEER} {_ROUND}",
        f"{verb} peer N at round N",
        lambda found: make(int(found["peer"]), int(found["round"])),
    )


_KINDS = {
    "kill": _kind(
        rf"kill {_PEER} {_ROUND}{_POINT}",
        "kill peer N at round N [POINT]",
        lambda found: Kill(int(found["peer"]), int(found["round"]), _point(found["point"])),
    ),
    "freeze": _kind(
        rf"freeze {_PEER} {_ROUND}{_POINT} {_SECONDS}",
        "freeze peer N at round N [POINT] for N s",
        _freeze,
    ),
    "leave": _simple("leave", Leave),
    "join": _simple("join", Join),
    "return": _simple("return", Return),
    "split": _kind(
        rf"split (?P<sides>\d+(?: \d+)*(?: \| \d+(?: \d+)*)+) {_ROUND} for (?P<rounds>\d+) rounds?",
        "split N N | N N at round N for N rounds",
        _split,
    ),
}


# ---- what cannot be ---------------------------------------------------------------------


def _contradictions(faults: Iterable[tuple[int, Fault]], peers: int) -> list[str]:
    """What happens to peers that are not there, line by line."""
    lines = list(faults)
    problems = []
    away = {it.peer: "has not joined" for _, it in lines if isinstance(it, Join)}
    joined: set[int] = set()
    for number, it in sorted(lines, key=lambda line: line[1].round):
        named = [peer for side in it.sides for peer in side] if isinstance(it, Split) else [it.peer]
        why = next((f"there is no peer {peer}" for peer in named if peer >= peers), "")
        if not why and isinstance(it, Join):
            why = f"peer {it.peer} joins twice" if it.peer in joined else ""
            joined.add(it.peer)
            away.pop(it.peer, None)
        elif not why and isinstance(it, Return):
            gone = away.pop(it.peer, "is there")
            why = f"peer {it.peer} {gone}" if gone in ("is there", "has not joined") else ""
        elif not why and not isinstance(it, Split):
            why = f"peer {it.peer} {away[it.peer]}" if it.peer in away else ""
            if isinstance(it, Kill | Leave):
                away[it.peer] = "was killed" if isinstance(it, Kill) else "has left"
        if why:
            problems.append(f"line {number}: {why}")
    return problems
