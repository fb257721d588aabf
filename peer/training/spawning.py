"""Starts a trainer's process."""

from __future__ import annotations

import asyncio
import os
import sys

from peer.training.options import TrainerStart

TRAINER_MODULE = "peer.training.process"
"""What a trainer process runs; benchmarks put one in its place whose inner steps are paced."""


async def spawn(start: TrainerStart, threads: int) -> asyncio.subprocess.Process:
    """With so many threads for its arithmetic; `OSError` if there can be no such process."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        TRAINER_MODULE,
        *start.to_argv(),
        pass_fds=(start.memory, start.socket),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        # a file named torch.py in the user's folder is not ours to run
        env={**os.environ, "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": str(threads)},
    )
