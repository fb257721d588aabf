"""What the demo trains, and who comes and goes when. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from swarmpb.spec import RunSpec, preset

ROUNDS_AT_LEAST = 16
"""Shorter runs have smaller rounds, down to one inner step, so that there are rounds to watch."""
STARTING_SECONDS = 25.0
"""A newcomer's imports and download take less; it is called this long before the end at least."""


def demo_spec(tokens: int | None) -> RunSpec:
    """The embedded run `demo`, made to end at `tokens` (None: where the preset ends).

    Warm-up and cooldown keep their share of the run.
    """
    spec = preset("demo")
    if tokens is None or tokens == spec.stop.tokens:
        return spec
    inner = spec.inner
    values = spec.model_dump(mode="json")
    values["stop"]["tokens"] = tokens
    for key in ("warmup_tokens", "cooldown_tokens"):
        values["inner"][key] = values["inner"][key] * tokens // spec.stop.tokens
    inner_step = inner.batch_size * spec.data.sequence_length
    values["round"]["target_tokens"] = max(
        inner_step, min(spec.round.target_tokens, tokens // ROUNDS_AT_LEAST)
    )
    return RunSpec.model_validate(values, strict=None)


@dataclass
class Script:
    """When the late peer joins and when one is killed, for a run of `target` tokens."""

    target: int
    joined: bool = False
    killed: bool = False

    def join_is_due(self, tokens: int, tokens_per_second: float) -> bool:
        """Once: at a quarter, or sooner if the run would be over before the newcomer is ready."""
        soon_over = self.target - tokens < tokens_per_second * STARTING_SECONDS
        under_way = tokens_per_second > 0 and tokens < self.target
        due = not self.joined and under_way and (tokens >= self.target // 4 or soon_over)
        self.joined = self.joined or due
        return due

    def kill_is_due(self, tokens: int) -> bool:
        """Once: half-way."""
        due = not self.killed and self.target // 2 <= tokens < self.target
        self.killed = self.killed or due
        return due
