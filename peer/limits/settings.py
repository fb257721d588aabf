"""What a volunteer allows: the tables `[limits]` and `[energy]` of `peer.toml`.

Unset means that there is no such limit. What slows a peer down acts while it takes part and never
fails a round; what makes it rest takes it out of the swarm until it is over.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from peer.control_groups import processors_allowed
from peer.limits.hours import parse_hours
from peer.limits.units import parse_bytes, parse_processors, parse_rate, parse_seconds, parse_share


def processors_here() -> int:
    """Processors that this process may use: in a container not always all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_threads() -> int:
    """All processors but one, so that the machine stays usable; a container's, if it has fewer."""
    allowed = processors_allowed()
    spared = processors_here() - 1
    return max(1, spared if allowed is None else min(spared, round(allowed)))


def _written(parse: Callable[[str], float]) -> BeforeValidator:
    """Take an amount with its unit, as text."""

    def read(value: Any) -> Any:
        if isinstance(value, str):
            return parse(value)
        if value is None or isinstance(value, float):  # a float: read already
            return value
        raise ValueError(f"write it with its unit, in quotes; {_expected(parse)}")

    return BeforeValidator(read)


def _expected(parse: Callable[[str], float]) -> str:
    try:
        parse("")
    except ValueError as error:
        return str(error).partition(", not ")[0]
    raise AssertionError("nothing is no amount")


Bytes = Annotated[float, _written(parse_bytes), Field(ge=0, le=1e15)]
Rate = Annotated[float, _written(parse_rate), Field(ge=16_000, le=1e12)]
"""Bits per second. Below 16 kbit/s a peer could not even be seen."""
Seconds = Annotated[float, _written(parse_seconds), Field(ge=0, le=86400 * 31)]
Share = Annotated[float, _written(parse_share)]


def _as_told(hours: str) -> str:
    """In the one way of writing them that users see."""
    return parse_hours(hours).describe() if hours else ""


def _program(name: str) -> str:
    if not name.strip() or len(name) > 100 or "/" in name:
        raise ValueError("expected the name of a program as a list of processes shows it: 'steam'")
    return name.strip()


Program = Annotated[str, AfterValidator(_program)]


def _processors(text: str) -> float:
    return parse_processors(text, processors_here())


Processors = Annotated[float, _written(_processors)]
"""A share of them all."""


class Limits(BaseModel):
    """The keys of `[limits]`; each is also an option of `peer join`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # ---- these slow a peer down
    threads: Annotated[int, Field(strict=True, ge=1, le=1024)] = Field(
        default_factory=default_threads
    )
    """Processor threads for training."""
    processor: Processors | None = None
    """Of all processors together, over some ten seconds: daemon, trainer and p2pd."""
    memory: Bytes | None = None
    """Of the machine, for daemon and trainer."""
    accelerator_memory: Bytes | None = None
    accelerator: Share | None = None
    """Of the accelerator's time."""
    disk: Bytes | None = None
    """For checkpoints and training text of a run."""
    disk_free: Bytes = 1e9
    """Left free on the disk, whatever else is allowed."""
    upload: Rate | None = None
    download: Rate | None = None
    data_per_month: Bytes | None = None
    """Sent and received together, in a calendar month; when it is used up the peer rests."""
    niceness: Annotated[int, Field(strict=True, ge=0, le=19)] = 10
    io: Literal["idle", "normal"] = "idle"
    """How the disk is used: only when nobody else does, or like everybody."""

    # ---- these make it rest
    hours: Annotated[str, AfterValidator(_as_told)] = ""
    """When it may train, by weekday in local time: "mon-fri 19:00-08:00, sat-sun"."""
    idle_after: Seconds | None = None
    """Train only when nobody has used the machine for so long."""
    on_battery: bool = False
    """Train on battery, too."""
    max_temperature: Annotated[float, Field(ge=30, le=120)] | None = None
    """Degrees Celsius of the hottest processor or accelerator."""
    not_while: Annotated[tuple[Program, ...], Field(max_length=64)] = ()
    """Names of programs: while one of them runs, this peer rests."""


class Energy(BaseModel):
    """The keys of `[energy]`: what training costs, as far as the machine or its user can tell."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    watts: Annotated[float, Field(gt=0, le=10_000)] | None = None
    """What the machine takes more at full load, for machines that cannot measure it."""
    price: Annotated[float, Field(ge=0, le=1000)] | None = None
    """Of a kilowatt-hour."""
    currency: Annotated[str, Field(pattern=r"^\w{1,4}$|^[€$£¥]$")] = "EUR"
    report: bool = False
    """Tell the run's coordinator how much energy this peer has used."""
