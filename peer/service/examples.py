"""The files in `deploy/`, as `peer service install` would write them: `python -m` writes them anew.

They are for who installs services with other means, and to read.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from peer.service import launchd, systemd
from peer.service.description import SYSTEM_CONFIG, SYSTEM_STATE, Service
from swarmpb.endpoints import JoinLink, parse_endpoint

_USER = Service(
    link=JoinLink(parse_endpoint("coordinator.example.org:7700/pin=" + "0" * 64), "my-run"),
    program=("/opt/murmuration/bin/peer",),
    state_dir=Path("/home/anna/.local/state/murmuration"),
    config=Path("/home/anna/.config/murmuration/peer.toml"),
)
_SYSTEM = replace(
    _USER,
    # by invitation: its secret is not in the unit
    link=replace(_USER.link, invite="0" * 32),
    state_dir=SYSTEM_STATE,
    config=SYSTEM_CONFIG / "peer.toml",
    secret=SYSTEM_CONFIG / "my-run.link",
    system=True,
)
_APPLE = replace(
    _USER,
    state_dir=Path("/Users/anna/Library/Application Support/murmuration"),
    config=Path("/Users/anna/Library/Application Support/murmuration/peer.toml"),
)


def examples() -> dict[str, bytes]:
    """Their contents, by their paths below `deploy/`."""
    unit = systemd.unit_name("my-run")
    return {
        f"systemd/user/{unit}": systemd.unit(_USER).encode(),
        f"systemd/system/{unit}": systemd.unit(_SYSTEM).encode(),
        f"launchd/{launchd.label('my-run')}.plist": launchd.agent(_APPLE),
    }


def write(deploy: Path) -> None:
    for name, content in examples().items():
        (deploy / name).parent.mkdir(parents=True, exist_ok=True)
        (deploy / name).write_bytes(content)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
