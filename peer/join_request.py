"""What `peer join` was asked for, and which folder that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peer.config import PeerConfig, load_config
from peer.local_runs import run_folder
from swarmpb.endpoints import JoinLink, parse_endpoint


@dataclass(frozen=True)
class JoinRequest:
    """Take part in a run with these settings."""

    run_id: str
    config: PeerConfig
    export: Path | None = None
    invite: str = ""
    """Secret of an invitation."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the command line, by key: they count before the file's."""

    @property
    def folder(self) -> Path:
        return run_folder(self.config.state_dir, self.run_id)

    @property
    def invitation(self) -> str:
        """The command that another volunteer would type."""
        endpoint = parse_endpoint(self.config.coordinator)
        return f"peer join {JoinLink(endpoint, self.run_id)}"

    def settings_now(self) -> PeerConfig:
        """The settings as they would be read now; raises `UserError` if they are wrong."""
        return load_config(self.options)
