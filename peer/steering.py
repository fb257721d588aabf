"""What a user may ask of a peer that takes part: the live side of the control socket."""

from __future__ import annotations

from collections.abc import Callable

from swarmpb.exits import Exit, UserError
from swarmpb.v1 import control_pb2


class LivePeer:
    """Implements `peer.control.Steering`."""

    def __init__(self, status: Callable[[], control_pb2.StatusReply]) -> None:
        self.status = status

    def pause(self, seconds: float) -> str:
        raise _not_yet()

    def resume(self) -> str:
        return "this peer is not paused"

    def finish(self, within_seconds: float) -> str:
        raise _not_yet()

    def leave(self) -> str:
        raise _not_yet()

    def reload(self) -> control_pb2.ReloadReply:
        raise _not_yet()


def _not_yet() -> UserError:
    return UserError(Exit.REFUSED, "this peer cannot do that yet")
