"""Where the commands on a coordinator's own machine find it: in a file that it writes at its start.

The file says where it listens, with which certificate, and what join links name. It counts only
while the coordinator holds its state folder.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from coordinator.config import DEFAULT_ADDRESS
from peer.runtime import running
from swarmpb.endpoints import Endpoint, LinkError, parse_endpoint
from swarmpb.files import write_private

ENDPOINT_FILE = "endpoint.json"


@dataclass(frozen=True)
class Whereabouts:
    """A coordinator, as this machine and as others reach it."""

    endpoint: Endpoint
    public: Endpoint
    """What join links name."""


def write(state_dir: Path, found: Whereabouts) -> None:
    """Tell the commands on this machine; `OSError` if the folder does not take it."""
    content = {"endpoint": str(found.endpoint), "public": str(found.public)}
    write_private(state_dir / ENDPOINT_FILE, (json.dumps(content, indent=1) + "\n").encode())


def find(told: Endpoint | None, state_dir: Path) -> Whereabouts:
    """The coordinator that a command asks: the one it names, else this machine's."""
    if told is not None:
        return Whereabouts(told, told)
    default = parse_endpoint(DEFAULT_ADDRESS)
    if running(state_dir) is None:
        return Whereabouts(default, default)
    try:
        content = json.loads((state_dir / ENDPOINT_FILE).read_text(encoding="utf-8"))
        return Whereabouts(parse_endpoint(content["endpoint"]), parse_endpoint(content["public"]))
    except (OSError, KeyError, TypeError, ValueError, LinkError):
        return Whereabouts(default, default)  # of another version, or about to be written
