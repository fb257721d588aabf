"""What a volunteer sets: command line, environment, TOML file, default; the first one counts."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from platformdirs import user_config_path, user_state_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from peer.limits.settings import Energy, Limits
from swarmpb.endpoints import parse_endpoint
from swarmpb.exits import Exit, UserError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

APPLICATION = "murmuration"
CONFIG_FILE = user_config_path(APPLICATION) / "peer.toml"
ENVIRONMENT = {"coordinator": "PEER_COORDINATOR", "state_dir": "PEER_STATE_DIR"}
_EXPECTED = {
    "name": "letters, digits, spaces, dots, dashes and underscores only",
    "device": "auto, cpu, cuda or mps",
    "energy.currency": "a symbol or up to four letters, such as EUR",
}
"""What the pattern of a key asks for, in words."""
TABLES: dict[str, type[BaseModel]] = {"limits": Limits, "energy": Energy}


def config_file() -> Path:
    """Where the settings are: PEER_CONFIG, or in the configuration folder."""
    named = os.getenv("PEER_CONFIG")
    return Path(named).expanduser() if named else CONFIG_FILE


class PeerConfig(BaseModel):
    """The keys of the TOML file; all but `[energy]` are also options of `peer join`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    coordinator: str
    """HOST:PORT of the run's coordinator, with its fingerprint, or a join link."""
    state_dir: Path
    """Where identity, cached spec and checkpoints are kept."""
    name: Annotated[str, Field(max_length=40, pattern=r"^[\w .-]*$")] = ""
    """Pseudonym on the dashboard; empty: derived from the peer id."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda|mps)$")] = "auto"
    """Where to train."""
    host: str = "0.0.0.0"  # noqa: S104  peers dial us
    """Address to listen on for other peers."""
    p2p_port: Annotated[int, Field(strict=True, ge=0, le=65535)] = 0
    """TCP port to listen on for other peers; 0 takes a free one."""
    limits: Limits = Field(default_factory=Limits)
    energy: Energy = Field(default_factory=Energy)

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


def load_config(options: Mapping[str, Any], path: Path | None = None) -> PeerConfig:
    """The settings that hold.

    options: those given on the command line, by key ("name", "limits.upload"), None for the
    others; path: of the file, else `config_file()`. Raises `UserError` BAD_CONFIG that names every
    wrong key and where it was set.
    """
    return validated(*settings_of(options, path))


def settings_of(
    options: Mapping[str, Any], path: Path | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """What was set, by key as above, and where: of several sources the last one counts."""
    path = path or config_file()
    values = default_values()
    origin = dict.fromkeys(values, "default")
    for source, found in (
        (str(path), flat(_from_file(path))),
        *((name, {key: value}) for key, name in ENVIRONMENT.items() if (value := os.getenv(name))),
        ("command line", {key: value for key, value in options.items() if value is not None}),
    ):
        values |= found
        origin |= dict.fromkeys(found, source)
    return values, origin


def default_values() -> dict[str, Any]:
    """Of the keys that have to be set."""
    return {"coordinator": "127.0.0.1:7700", "state_dir": user_state_path(APPLICATION)}


def validated(values: Mapping[str, Any], origin: Mapping[str, str]) -> PeerConfig:
    """The settings of these values by key; raises `UserError` as `load_config` does."""
    try:
        return PeerConfig.model_validate(_nested(values))
    except ValidationError as error:
        faults = [_describe(fault, origin) for fault in error.errors()]
        raise UserError(Exit.BAD_CONFIG, "; ".join(faults)) from error


def faults_of(values: Mapping[str, Any], origin: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with these values, by key; empty if nothing is."""
    try:
        PeerConfig.model_validate(_nested(values))
    except ValidationError as error:
        return {_key_of(fault): _describe(fault, origin) for fault in error.errors()}
    return {}


def known_keys() -> list[str]:
    """Every key there is, those of tables with the table's name before them."""
    top = [key for key in PeerConfig.model_fields if key not in TABLES]
    return top + [f"{name}.{key}" for name, table in TABLES.items() for key in table.model_fields]


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a file has, by key: "name", "limits.upload"."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key in TABLES and isinstance(value, dict):
            found |= {f"{key}.{name}": it for name, it in value.items()}
        else:
            found[key] = value
    return found


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in values.items():
        table, _, name = key.partition(".")
        if name and table in TABLES:
            nested.setdefault(table, {})[name] = value
        else:
            nested[key] = value
    return nested


def _from_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(Exit.BAD_CONFIG, f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise UserError(Exit.BAD_CONFIG, f"cannot read {path}: {error.strerror}") from error


def _key_of(fault: Any) -> str:
    return ".".join(str(it) for it in fault["loc"][:2] if isinstance(it, str))


def _describe(fault: Any, origin: Mapping[str, str]) -> str:
    key = _key_of(fault)
    source = origin.get(key, "?")
    if fault["type"] == "extra_forbidden":
        return f"{key} ({source}): unknown key; known are {', '.join(known_keys())}"
    problem = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "string_pattern_mismatch":
        problem = f"expected {_EXPECTED[key]}"
    return f"{key} = {fault['input']!r} ({source}): {problem}"
