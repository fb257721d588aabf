"""Why an owner's wish or a peer's admission is refused; what reports meet is in `domain`."""

from __future__ import annotations

from coordinator.domain import RefusedError


class InvalidCharterError(RefusedError):
    """A charter or orders that do not hold, or name another coordinator."""


class NotInChargeError(RefusedError):
    """No charter lets this coordinator change the run."""

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"this coordinator does not speak for run {run_id}; its owner lets it by"
            " `coordinator run create` with the run's spec"
        )


class OldOrdersError(RefusedError):
    """A peer knows newer orders than this coordinator, which lost them or has an old copy.

    It answers as if it had lost the run: peers bring it back with the orders that they know.
    """

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"this peer knows newer orders of run {run_id}; it brings them with the run"
        )


class RunStateError(RefusedError):
    """What the run's state does not allow."""


class NotAdmittedError(RefusedError):
    """A peer that may not take part."""


class InvalidRequestError(RefusedError):
    """A request that makes no sense."""


class NoOnePeerError(RefusedError):
    """The run has no such peer, or several that the name fits."""
