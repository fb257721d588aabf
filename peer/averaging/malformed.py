"""What other peers sent and may not be used: the one error for it, and the one check."""

from __future__ import annotations

DIGEST_BYTES = 32


class Malformed(ValueError):
    """A message of another peer breaks a rule; says which."""


def require(holds: bool, problem: str) -> None:
    """Raise `Malformed` with `problem` unless the rule `holds`."""
    if not holds:
        raise Malformed(problem)
