"""What a peer does, in the one line that is shown where there is no screen. Pure."""

from __future__ import annotations

import math

from peer.screen.plain import one_line
from swarmpb.v1 import control_pb2


def live_line(status: control_pb2.StatusReply) -> str:
    """Phase with its reason, and the figures that matter most."""
    loss = f"loss {status.train_loss:.3f}" if math.isfinite(status.train_loss) else "no loss yet"
    share = f" ({status.run_tokens / status.target_tokens:.0%})" if status.target_tokens else ""
    peers = "1 peer" if status.peers == 1 else f"{status.peers} peers"
    return one_line(
        f"{status.phase}: {status.reason} | at round {status.round}{share} | "
        f"{status.tokens_per_second:,.0f} tokens/s | {loss} | {peers}"
    )
