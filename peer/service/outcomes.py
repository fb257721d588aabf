"""Which ends of a peer a service manager starts again, and which it leaves alone. Pure.

Started again is what another hour may mend: a network, a disk, a clock, the other side. Left alone
is what only a person can change, or what needs no change at all.
"""

from __future__ import annotations

from swarmpb.exits import Exit

USAGE = 2
"""A wrong command line, as click has it."""

STARTED_AGAIN: dict[Exit, str] = {
    Exit.COORDINATOR_UNREACHABLE: "the network comes up after this machine does",
    Exit.PORT_IN_USE: "whoever has the port may let go of it",
    Exit.ALREADY_RUNNING: "somebody runs a peer by hand; the service takes over afterwards",
    Exit.STATE_FOLDER: "a disk is full, or not mounted yet",
    Exit.PROTOCOL_MISMATCH: "the coordinator may be in the middle of an update",
    Exit.CLOCK_OFF: "the clock is set soon after the machine starts",
    Exit.NOT_ENOUGH_MEMORY: "another program has it now",
    Exit.NOT_ENOUGH_DISK: "somebody makes room",
    Exit.TRAINER_FAILED: "a driver, or memory that another program has now",
    Exit.SWARM_UNREACHABLE: "the network, or all the others, are away",
    Exit.DATA_UNAVAILABLE: "the server of the text is away",
    Exit.REFUSED: "the coordinator is busy, or has trouble of its own",
    Exit.RUN_CLOSED: "a draft opens one day",
}
LEFT_ALONE: dict[Exit, str] = {
    Exit.UNKNOWN_RUN: "the name is wrong",
    Exit.BAD_SPEC: "a run never changes",
    Exit.SPEC_CHANGED: "it is another run under the same name: a person has to choose",
    Exit.BAD_CONFIG: "a setting is wrong",
    Exit.NOT_RUNNING: "never the end of a peer",
    Exit.DEMO_FAILED: "never the end of a peer",
    Exit.RUN_FINISHED: "it is over",
    Exit.UNKNOWN_PEER: "never the end of a peer",
    Exit.WRONG_COORDINATOR: "somebody else answers there: a person has to look",
    Exit.NOT_ADMITTED: "another invitation is needed",
    Exit.NO_TOKEN: "never the end of a peer",
    Exit.BANNED: "by the run's owner",
    Exit.SERVICE: "never the end of a peer",
    Exit.NOT_HELPFUL: "never the end of a peer",
    Exit.INTERRUPTED: "somebody wants it to stop at once",
}
SUCCESSES = (Exit.RUN_FINISHED, Exit.INTERRUPTED)
"""Besides 0: nobody has to look into them."""


def left_alone() -> list[int]:
    """The codes after which a peer is not started again, in order."""
    return sorted([USAGE, *(int(code) for code in LEFT_ALONE)])


def successes() -> list[int]:
    return sorted(int(code) for code in SUCCESSES)
