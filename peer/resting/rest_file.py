"""Why a peer rests, kept in the run's folder: the process that waits is another than saw it.

So that a cause which ended a moment ago counts for its minute there too, and a machine that was too
hot has to be cooler.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from peer.resting.rest import Cause, Rest, rest_of
from swarmpb.files import write_private

log = logging.getLogger(__name__)

_NAME = "rest.json"
REMEMBERED_SECONDS = 600.0
"""Whoever starts a peer later than that begins without a past."""
_MOST_CAUSES = 20


def load_rest(folder: Path, now: float) -> Rest | None:
    """What a peer of this folder rested for lately; now: unix seconds."""
    try:
        causes = json.loads((folder / _NAME).read_text(encoding="utf-8"))["causes"]
        found = [Cause(str(it["name"]), "", None, seen=float(it["seen"])) for it in causes]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.warning("%s cannot be read: %s", folder / _NAME, error)
        return None
    lately = [it for it in found[:_MOST_CAUSES] if 0 <= now - it.seen < REMEMBERED_SECONDS]
    return rest_of(lately)


def save_rest(folder: Path, rest: Rest | None) -> None:
    """Remember this; None: it trains again."""
    path = folder / _NAME
    causes = [{"name": it.name, "seen": it.seen} for it in (rest.causes if rest else ()) if it.seen]
    try:
        if causes:
            write_private(path, json.dumps({"causes": causes}).encode())
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s cannot be written: %s", path, error.strerror)
