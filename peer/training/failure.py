"""Why a trainer cannot go on: a cause for the daemon, one line for a person."""

from __future__ import annotations

import torch

from peer.training.messages import Failed


class TrainerFailure(Exception):
    """`cause` as in `messages.Failed`; `str(error)` is one line that says what to do."""

    def __init__(self, cause: str, reason: str) -> None:
        super().__init__(reason)
        self.cause = cause


def failed(error: Exception) -> Failed:
    """The last message of a trainer that ends with `error`."""
    if isinstance(error, TrainerFailure):
        return Failed(error.cause, str(error))
    if _is_out_of_memory(error):
        reason = "not enough memory for this batch: use a smaller micro-batch or free some memory"
        return Failed("memory", reason)
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return Failed("bug", text[:500])


def _is_out_of_memory(error: Exception) -> bool:
    # the allocator of processor memory raises a bare RuntimeError with this text
    text = str(error).lower()
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError)
        and ("can't allocate memory" in text or "out of memory" in text)
    )
