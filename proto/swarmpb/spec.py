"""The run spec: what a run trains and how, declarative, immutable, hashed and signed.

Written by an owner as TOML, published as canonical JSON. Coordinator and peers read it through
the same models, so what one accepts the other does too. The presets beside this file document
every key.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from importlib.resources import files
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_SPEC_BYTES = 64 * 1024
PRESETS = ("demo", "internet")

Tokens = Annotated[int, Field(gt=0, le=10**15)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class SpecError(ValueError):
    """A spec is not valid; `problems` names every fault, one line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Floats(_Section):
    """A section of TOML numbers, where an integer may stand for a float."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("expected a number, not true or false")
        return value


class ModelSpec(_Section):
    architecture: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]{0,63}ForCausalLM$")]
    """Name of a causal language model class of `transformers`."""
    config: dict[str, bool | int | Finite | str | list[int] | list[str]] = Field(max_length=64)
    """Values for that architecture's configuration; the rest keep its defaults."""


class Download(_Section):
    url: Annotated[str, Field(pattern=r"^https?://[^\s]{1,2000}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(gt=0, le=1 << 40)]


class DataSpec(_Floats):
    source: Literal["python-stdlib", "downloads"]
    """`python-stdlib`: the source text of the peer's own Python. `downloads`: the files below."""
    downloads: tuple[Download, ...] = Field(default=(), max_length=1000)
    """UTF-8 text files, checked by size and hash, kept in the peer's state folder."""
    sequence_length: Annotated[int, Field(ge=8, le=131_072)]
    """Tokens in a training sequence."""
    validation_fraction: Fraction
    """Last part of the text, never trained on."""

    @model_validator(mode="after")
    def _downloads_iff_asked(self) -> DataSpec:
        if (self.source == "downloads") != bool(self.downloads):
            raise ValueError('`downloads` goes with source = "downloads", and only with it')
        return self


class InnerSpec(_Floats):
    """The optimizer that each peer runs on its own batches."""

    optimizer: Literal["muon", "adamw"]
    """`muon`: Muon for the matrices inside blocks, AdamW for the rest."""
    learning_rate: Rate
    """Peak rate of the matrices inside blocks (`muon`) or of everything (`adamw`)."""
    adamw_learning_rate: Rate | None = None
    """Peak rate of the rest, `muon` only."""
    momentum: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0.95
    """Of Muon; short runs want less. AdamW has its own."""
    weight_decay: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    gradient_clip: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
    """Largest norm of a gradient."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)]
    """Sequences in an inner step."""
    warmup_tokens: Annotated[int, Field(ge=0, le=10**15)]
    """The rate rises linearly over the run's first tokens,"""
    cooldown_tokens: Annotated[int, Field(ge=0, le=10**15)]
    """and falls linearly to zero over its last."""

    @model_validator(mode="after")
    def _rates_fit_the_optimizer(self) -> InnerSpec:
        if (self.optimizer == "muon") != (self.adamw_learning_rate is not None):
            raise ValueError('`adamw_learning_rate` goes with optimizer = "muon", and only with it')
        return self


class OuterSpec(_Floats):
    """Nesterov momentum on the averaged pseudo-gradient (DiLoCo, arXiv:2311.08105)."""

    learning_rate: Annotated[float, Field(gt=0, le=2, allow_inf_nan=False)]
    momentum: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class RoundSpec(_Floats):
    target_tokens: Tokens
    """The swarm cuts when it has trained this many tokens since the last round,"""
    min_seconds: Seconds
    """but never sooner than this,"""
    max_seconds: Seconds
    """and never later."""
    exchange_seconds: Annotated[float, Field(ge=1, le=3600, allow_inf_nan=False)]
    """A part that has not been averaged this long after the cut is left out."""
    min_peers: Annotated[int, Field(ge=1, le=64)]
    """Fewer peers than this train on, but do not commit a round."""
    codec: Literal["fp32", "fp16", "int8", "int4", "sparse"]
    """How values travel: whole, in 16, 8 or 4 bits, or only the largest."""

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> RoundSpec:
        if self.min_seconds > self.max_seconds:
            raise ValueError("min_seconds is above max_seconds")
        return self


class StopSpec(_Section):
    tokens: Tokens
    """The run ends with the round that brings its merged tokens to this number."""


class RunSpec(_Section):
    run_id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    description: Annotated[str, Field(max_length=500)] = ""
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    model: ModelSpec
    data: DataSpec
    inner: InnerSpec
    outer: OuterSpec
    round: RoundSpec
    stop: StopSpec

    @model_validator(mode="after")
    def _a_batch_fits_a_round(self) -> RunSpec:
        problems = []
        if self.inner.batch_size * self.data.sequence_length > self.round.target_tokens:
            problems.append("round.target_tokens is below the tokens of one inner step")
        if self.inner.warmup_tokens + self.inner.cooldown_tokens > self.stop.tokens:
            problems.append("inner.warmup_tokens and inner.cooldown_tokens exceed stop.tokens")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def canonical(self) -> bytes:
        """The one byte string of this spec: JSON, sorted keys, no white space, UTF-8."""
        return json.dumps(
            self.model_dump(mode="json"),
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
            allow_nan=False,
        ).encode()

    def hash(self) -> bytes:
        """sha256 of the canonical bytes."""
        return hashlib.sha256(self.canonical()).digest()

    def learning_rate_factor(
        self, tokens: int, stop_tokens: int = 0, cooldown_tokens: int = 0
    ) -> float:
        """Warm-up, constant, cooldown over the run's merged tokens; between 0 and 1.

        stop_tokens, cooldown_tokens: as the run's owner has ordered it since; 0: as it says here.
        An end that was brought forward never raises the rate.
        """
        rise = (tokens + 1) / self.inner.warmup_tokens if self.inner.warmup_tokens else 1.0
        stop, cooldown = stop_tokens or self.stop.tokens, self.inner.cooldown_tokens
        fall = _fall(stop - tokens, cooldown_tokens or cooldown)
        if stop <= self.stop.tokens:
            fall = min(fall, _fall(self.stop.tokens - tokens, cooldown))
        return max(0.0, min(1.0, rise, fall))


def _fall(left: int, cooldown: int) -> float:
    return left / cooldown if cooldown else math.inf


def parse_toml(text: str) -> RunSpec:
    """A spec from an owner's TOML; `SpecError` names every fault at once."""
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, or a number of 5000 digits
        raise SpecError([f"not valid TOML: {error}"]) from error
    return _validated(data)


def parse_canonical(data: bytes) -> RunSpec:
    """A spec from its published bytes; `SpecError` if they are not the canonical form of one."""
    if len(data) > MAX_SPEC_BYTES:
        raise SpecError([f"the spec has {len(data)} bytes; at most {MAX_SPEC_BYTES} are allowed"])
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:  # not UTF-8, no JSON, a number of 5000 digits
        raise SpecError([f"not valid JSON: {error}"]) from error
    spec = _validated(values)
    if spec.canonical() != data:
        raise SpecError(["the spec is not in its canonical form"])
    return spec


def preset_text(name: str) -> str:
    """The documented TOML of an embedded spec; `KeyError` for an unknown name."""
    if name not in PRESETS:
        raise KeyError(name)
    return (files("swarmpb") / "presets" / f"{name}.toml").read_text(encoding="utf-8")


def preset(name: str) -> RunSpec:
    """An embedded spec; `KeyError` for an unknown name."""
    return parse_toml(preset_text(name))


def _validated(data: Any) -> RunSpec:
    try:
        spec = RunSpec.model_validate(data, strict=None)
    except ValidationError as error:
        raise SpecError([_one_line(fault) for fault in error.errors()]) from error
    try:
        size = len(spec.canonical())
    except UnicodeEncodeError as error:  # JSON can escape one half of a surrogate pair
        raise SpecError(["model.config: a text is not valid Unicode"]) from error
    if size > MAX_SPEC_BYTES:
        raise SpecError([f"the spec takes more than {MAX_SPEC_BYTES} bytes"])
    return spec


def _one_line(fault: Any) -> str:
    place = ".".join(str(step) for step in fault["loc"]) or "spec"
    if fault["type"] == "extra_forbidden":
        return f"{place}: unknown key"
    if fault["type"] == "missing":
        return f"{place}: missing"
    return f"{place}: {fault['msg'].removeprefix('Value error, ')}"
