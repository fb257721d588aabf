"""A user's pause, kept in the run's folder so that it outlives a restart of the machine."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

from peer.resting.rest import Pause
from swarmpb.files import write_private

log = logging.getLogger(__name__)

_NAME = "pause.json"


def load_pause(folder: Path) -> Pause | None:
    """The pause that holds for the run of this folder; None if there is none."""
    try:
        until = json.loads((folder / _NAME).read_text(encoding="utf-8"))["until"]
        if until is not None and not math.isfinite(float(until)):
            raise ValueError("not a time")
        return Pause(None if until is None else float(until))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        # rather once too often than to train on a machine whose user wants it back
        log.warning("%s cannot be read (%s): paused until `peer resume`", folder / _NAME, error)
        return Pause(None)


def save_pause(folder: Path, pause: Pause) -> None:
    """Have this pause hold; `OSError` if it cannot be kept."""
    write_private(folder / _NAME, json.dumps({"until": pause.until}).encode())


def end_pause(folder: Path) -> bool:
    """Forget the pause; whether there was one."""
    try:
        (folder / _NAME).unlink()
    except FileNotFoundError:
        return False
    return True
