"""What the benchmark `quality` compares, and what we aim at."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.benchmarks.quality_sim import Setting

MUON, ADAMW = "data parallel Muon", "data parallel AdamW"
ALONE = "one peer alone, same time"
FP32, INT4 = "ours fp32", "ours int4"
UNEQUAL = "ours int4, speeds 1, 1, 0.5, 0.1"

_DATA_PARALLEL = Setting(data_parallel=True)
_OURS = Setting(outer=(0.9, 0.5), inner_steps_per_round=5, delay=1)
_PUBLISHED = Setting(optimizer="adamw", rate=0.003, outer=(0.7, 0.9), delay=0)
"""DiLoCo (arXiv:2311.08105), which blocks; its inner rate is the best for AdamW here."""


@dataclass(frozen=True)
class Condition:
    """A way to train, with a name that says what its setting is compared for."""

    name: str
    setting: Setting
    repeated: bool = True
    """With every seed, not with the first alone."""

    @property
    def is_ours(self) -> bool:
        return self.name.startswith("ours")


@dataclass(frozen=True)
class Aim:
    """A bound on the ratio of two conditions' losses with the same seed."""

    of: str
    to: str
    at_most: float


def _adamw(rate: float) -> Setting:
    return replace(_DATA_PARALLEL, optimizer="adamw", rate=rate)


def _ours(codec: str) -> Setting:
    return replace(_OURS, contribution=codec, answer=codec)


CONDITIONS = (  # the most important first
    Condition(MUON, _DATA_PARALLEL),
    Condition(INT4, _ours("int4")),
    Condition(FP32, _ours("fp32")),
    Condition(ADAMW, _adamw(0.003)),
    Condition(f"{ADAMW}, half the rate", _adamw(0.0015), repeated=False),
    Condition(
        "ours int4, rounds of 52",
        replace(_ours("int4"), inner_steps_per_round=52, delay=2, outer=(1.1, 0.5)),
    ),
    Condition(UNEQUAL, replace(_ours("int4"), speeds=(1.0, 1.0, 0.5, 0.1))),
    Condition("DiLoCo as published", _PUBLISHED),
    Condition("ours int8", _ours("int8")),
    Condition(
        "ours int4, rounds of 10",
        replace(_ours("int4"), inner_steps_per_round=10, outer=(1.0, 0.5)),
    ),
    Condition(ALONE, replace(_OURS, peers=1, outer=(1.0, 0.0), delay=0)),
    Condition("ours sparse", _ours("sparse"), repeated=False),
    Condition("ours fp16", _ours("fp16"), repeated=False),
)

OVER_ADAMW, OVER_MUON, FEWER_BYTES = 0.95, 1.05, 400.0
"""Aims for every condition of ours."""
AIMS = (Aim(INT4, FP32, 1.005), Aim(UNEQUAL, INT4, 1.02))
