"""What a service manager has to know to keep a peer of one run going. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from swarmpb.endpoints import JoinLink

SYSTEM_STATE = Path("/var/lib/murmuration")
SYSTEM_CONFIG = Path("/etc/murmuration")
STOP_SECONDS = 30
"""A peer leaves within ten (`peer/departure.py`); on a machine that swaps it may need longer."""
RESTART_SECONDS = 60
MARK = "Written by `peer service install`; `peer service uninstall` takes it away."
"""In every file of ours, so that nobody else's is ever removed."""


@dataclass(frozen=True)
class Service:
    """A peer of one run, kept going by the user's own service manager or by the system's."""

    link: JoinLink
    """The run and its coordinator; what it says of an invitation goes into `secret`."""
    program: tuple[str, ...]
    """How `peer` is started: absolute paths."""
    state_dir: Path
    config: Path
    """The settings file, which need not exist."""
    secret: Path | None = None
    """The file with the whole link, of mode 0600, if it has an invitation."""
    system: bool = False

    @property
    def run_id(self) -> str:
        return self.link.run_id

    def command(self, secret: str) -> tuple[str, ...]:
        """What is run; secret: where the peer finds the file with the link, if there is one."""
        link = f"@{secret}" if self.secret else str(replace(self.link, invite=""))
        return (*self.program, "join", link, "--state-dir", str(self.state_dir))
