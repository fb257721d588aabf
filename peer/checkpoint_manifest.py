"""What a checkpoint says of itself: its place in the run, and a digest of every file. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Annotated, Any

from blake3 import blake3
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from peer.averaging.lineage import MAX_PARENTS

MANIFEST_FORMAT = 1
MAX_MANIFEST_BYTES = 16 << 20
GENERATION_NAME = re.compile(r"(\d{1,18})-(\d{1,18})")
"""Round, and a number that rises from one generation to the next."""

_Count = Annotated[int, Field(ge=0, lt=2**62)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class StoredFile(_Section):
    bytes: _Count
    digest: _Digest
    """BLAKE3."""


class Pending(_Section):
    """What a trainer had done and nobody has merged, when it was copied."""

    chunks: list[Annotated[int, Field(ge=0, lt=2**53)]] = []
    inner_steps: _Count = 0
    tokens: _Count = 0
    loss_sum: Annotated[float, Field(allow_inf_nan=False)] = 0.0


class CheckpointManifest(_Section):
    format: Annotated[int, Field(ge=MANIFEST_FORMAT, le=MANIFEST_FORMAT)] = MANIFEST_FORMAT
    round: _Count
    tokens: _Count
    """Merged in the run."""
    digest: _Digest
    """Of the global state."""
    parents: Annotated[list[_Digest], Field(max_length=MAX_PARENTS)]
    merged_tokens: _Count
    """Of this peer's work."""
    pending: Pending
    written_at: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Unix seconds."""
    files: dict[str, StoredFile]

    def encode(self) -> bytes:
        return sealed(self.model_dump())


def sealed(content: Any) -> bytes:
    """JSON of a manifest's values and of their digest."""
    return json.dumps({"manifest": content, "digest": _digest(content)}, indent=1).encode()


def parse_manifest(data: bytes) -> CheckpointManifest:
    """The manifest that `encode` gave; `ValueError` if a bit of it has changed."""
    try:
        both = json.loads(data)
        content, digest = both["manifest"], both["digest"]
        intact = digest == _digest(content)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"its manifest is none: {type(error).__name__}") from error
    if not intact:
        raise ValueError("its manifest does not match its own digest")
    try:
        return CheckpointManifest.model_validate(content)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(it) for it in fault["loc"])
        raise ValueError(f"its manifest's {place}: {fault['msg']}") from error


@dataclass(frozen=True, order=True)
class Generation:
    """The name of a checkpoint's folder; the largest is the newest."""

    number: int
    round: int = field(compare=False)

    @property
    def name(self) -> str:
        return f"{self.round}-{self.number}"

    @classmethod
    def named(cls, name: str) -> Generation | None:
        """None: this is no generation's name."""
        match = GENERATION_NAME.fullmatch(name)
        return cls(int(match[2]), int(match[1])) if match else None


def _digest(content: Any) -> str:
    return blake3(json.dumps(content, sort_keys=True).encode()).hexdigest()
