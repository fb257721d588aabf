"""Errors that a user can act on: one line that says what to do, and its own exit code.

Exit code 0 is success, 1 a bug of ours, 2 a wrong command line (click); 130 a second Ctrl-C.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Documented exit codes of `peer` and `coordinator`."""

    UNKNOWN_RUN = 10
    COORDINATOR_UNREACHABLE = 11
    BAD_SPEC = 12
    PORT_IN_USE = 13
    ALREADY_RUNNING = 14
    STATE_FOLDER = 15
    PROTOCOL_MISMATCH = 16
    CLOCK_OFF = 17
    NOT_ENOUGH_MEMORY = 18
    SPEC_CHANGED = 19
    BAD_CONFIG = 20
    NOT_RUNNING = 21
    TRAINER_FAILED = 22
    SWARM_UNREACHABLE = 23
    DATA_UNAVAILABLE = 24
    DEMO_FAILED = 25
    REFUSED = 26
    RUN_FINISHED = 27
    UNKNOWN_PEER = 28
    WRONG_COORDINATOR = 29
    NOT_ADMITTED = 30
    RUN_CLOSED = 31
    NO_TOKEN = 32
    BANNED = 33
    NOT_ENOUGH_DISK = 34
    SERVICE = 35
    NOT_HELPFUL = 36
    INTERRUPTED = 130


class UserError(Exception):
    """Something the user can mend. `str(error)` is one line that says what to do."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code
