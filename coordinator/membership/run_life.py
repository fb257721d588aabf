"""What a run's owner may ask of it, by the state that it is in, and where a run ends. Pure.

draft → open ⇄ paused; open, paused → finishing → finished. A paused run goes on as what it was; a
finish is called off by opening the run again, as long as its end is not reached.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median_low

from coordinator.membership.refusals import RunStateError
from swarmpb.membership import RunState

NAMES = {
    RunState.DRAFT: "draft",
    RunState.OPEN: "open",
    RunState.PAUSED: "paused",
    RunState.FINISHING: "finishing",
    RunState.FINISHED: "finished",
}
"""As people read them."""

_NEXT: dict[RunState, frozenset[RunState]] = {
    RunState.DRAFT: frozenset({RunState.OPEN}),
    RunState.OPEN: frozenset({RunState.PAUSED, RunState.FINISHING}),
    RunState.PAUSED: frozenset({RunState.OPEN, RunState.FINISHING}),
    RunState.FINISHING: frozenset({RunState.OPEN, RunState.PAUSED, RunState.FINISHING}),
    RunState.FINISHED: frozenset(),
}
_REFUSALS = {
    RunState.DRAFT: "it is a draft that nobody trains; open it with `coordinator run resume`",
    RunState.OPEN: "it is open, and peers may have its work",
    RunState.PAUSED: "it is paused, and peers hold its work",
    RunState.FINISHING: "it is finishing already",
    RunState.FINISHED: "it is finished, and stays so; create another run to train on",
}


@dataclass(frozen=True)
class Plan:
    """What is wanted of a run."""

    state: RunState
    reason: str = ""
    stop_tokens: int = 0
    """Where it ends; 0: as the spec says."""
    cooldown_tokens: int = 0
    """Over so many tokens before that the rate falls; 0: as the spec says."""


@dataclass(frozen=True)
class Course:
    """Where a run stands, and what its spec says of the end."""

    tokens: int
    """Merged so far."""
    target_tokens: int
    cooldown_tokens: int


def change(now: Plan, wanted: RunState, reason: str, cooldown: int, course: Course) -> Plan:
    """The plan after its owner asked for the state `wanted`; `RunStateError` if that cannot be.

    cooldown: over how many tokens a finishing run's rate falls; 0: as the spec says. Asking for
    what is so already changes nothing but the reason.
    """
    if wanted not in NAMES:
        raise RunStateError(f"there is no state {int(wanted)}")
    if wanted == now.state and wanted != RunState.FINISHING:
        return Plan(now.state, reason or now.reason, now.stop_tokens, now.cooldown_tokens)
    if wanted not in _NEXT.get(now.state, frozenset()):
        raise RunStateError(f"the run cannot become {NAMES[wanted]}: {_REFUSALS[now.state]}")
    if wanted == RunState.FINISHING:
        return _finishing(reason, cooldown, course)
    if wanted == RunState.PAUSED:
        return Plan(wanted, reason, now.stop_tokens, now.cooldown_tokens)
    if now.state == RunState.PAUSED and now.stop_tokens:
        return Plan(RunState.FINISHING, reason, now.stop_tokens, now.cooldown_tokens)
    return Plan(wanted, reason)


def _finishing(reason: str, cooldown: int, course: Course) -> Plan:
    """From here the rate falls until the end, which is never behind the spec's."""
    wanted = course.tokens + (cooldown or course.cooldown_tokens)
    stop = min(wanted, course.target_tokens)
    if stop <= course.tokens:  # no cooldown is wanted, or the target is reached
        return Plan(RunState.FINISHED, reason)
    return Plan(RunState.FINISHING, reason, stop, stop - course.tokens)


def ended(now: Plan, course: Course) -> Plan | None:
    """The plan of a run whose merged tokens have reached its end; None: it goes on."""
    if now.state not in (RunState.OPEN, RunState.PAUSED, RunState.FINISHING):
        return None
    early = 0 < now.stop_tokens < course.target_tokens
    end = now.stop_tokens if early else course.target_tokens
    if course.tokens < end:
        return None
    reason = now.reason if early and now.reason else "its target is reached"
    if early and not now.reason:
        reason = "its owner has finished it"
    return Plan(RunState.FINISHED, reason, now.stop_tokens, now.cooldown_tokens)


def told_by_most(words: Iterable[int]) -> int:
    """How far a run is by what its live peers say of it: the lower median.

    words: merged tokens of the run, of each live peer the highest that it told. One liar, or any
    number below a half, cannot end a run with it.
    """
    told = list(words)
    return median_low(told) if told else 0
