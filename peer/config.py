"""What a volunteer sets: command line, environment, TOML file, default; the first one counts."""

from __future__ import annotations

import ipaddress
import os
import sys
from pathlib import Path
from typing import Annotated, Any

from platformdirs import user_config_path, user_state_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from swarmpb.endpoints import parse_endpoint
from swarmpb.exits import Exit, UserError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

APPLICATION = "murmuration"
CONFIG_FILE = user_config_path(APPLICATION) / "peer.toml"
_ENVIRONMENT = {"coordinator": "PEER_COORDINATOR", "state_dir": "PEER_STATE_DIR"}
_EXPECTED = {
    "name": "letters, digits, spaces, dots, dashes and underscores only",
    "device": "auto, cpu, cuda or mps",
}
"""What the pattern of a key asks for, in words."""


def default_threads() -> int:
    """All processors but one, so that the machine stays usable."""
    return max(1, (os.cpu_count() or 1) - 1)


class PeerConfig(BaseModel):
    """The keys of the TOML file; each is also an option of `peer join`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    coordinator: str
    """HOST:PORT of the run's coordinator, with its fingerprint, or a join link."""
    state_dir: Path
    """Where identity, cached spec and checkpoints are kept."""
    name: Annotated[str, Field(max_length=40, pattern=r"^[\w .-]*$")] = ""
    """Pseudonym on the dashboard; empty: derived from the peer id."""
    threads: Annotated[int, Field(strict=True, ge=1, le=1024)]
    """Processor threads for training."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda|mps)$")] = "auto"
    """Where to train."""
    host: str = "0.0.0.0"  # noqa: S104  peers dial us
    """Address to listen on for other peers."""
    p2p_port: Annotated[int, Field(strict=True, ge=0, le=65535)] = 0
    """TCP port to listen on for other peers; 0 takes a free one."""

    @field_validator("coordinator")
    @classmethod
    def _is_an_endpoint(cls, value: str) -> str:
        return str(parse_endpoint(value))

    @field_validator("host")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        ipaddress.ip_address(value)
        return value

    @field_validator("state_dir")
    @classmethod
    def _expand_home(cls, value: Path) -> Path:
        return value.expanduser()


def load_config(options: dict[str, Any], path: Path = CONFIG_FILE) -> PeerConfig:
    """The settings that hold; options: those given on the command line, None for the others.

    Raises `UserError` BAD_CONFIG that names every wrong key and where it was set.
    """
    values: dict[str, Any] = {
        "coordinator": "127.0.0.1:7700",
        "state_dir": user_state_path(APPLICATION),
        "threads": default_threads(),
    }
    origin = dict.fromkeys(values, "default")
    for source, found in (
        (str(path), _from_file(path)),
        *((name, {key: value}) for key, name in _ENVIRONMENT.items() if (value := os.getenv(name))),
        ("command line", {key: value for key, value in options.items() if value is not None}),
    ):
        values |= found
        origin |= dict.fromkeys(found, source)
    try:
        return PeerConfig.model_validate(values)
    except ValidationError as error:
        faults = [_describe(fault, origin) for fault in error.errors()]
        raise UserError(Exit.BAD_CONFIG, "; ".join(faults)) from error


def _from_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(Exit.BAD_CONFIG, f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise UserError(Exit.BAD_CONFIG, f"cannot read {path}: {error.strerror}") from error


def _describe(fault: Any, origin: dict[str, str]) -> str:
    key = str(fault["loc"][0])
    known = ", ".join(PeerConfig.model_fields)
    if fault["type"] == "extra_forbidden":
        return f"{key} ({origin.get(key, '?')}): unknown key; known are {known}"
    problem = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "string_pattern_mismatch":
        problem = f"expected {_EXPECTED[key]}"
    return f"{key} = {fault['input']!r} ({origin.get(key, '?')}): {problem}"
