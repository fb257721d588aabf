"""What a run would send and receive on this machine, and keep on its disk and in memory. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from peer.averaging.codec_names import codec_named
from swarmpb.spec import RunSpec

DAY = 86_400.0
VALUE_BYTES = 4
DAEMON_VECTORS = 13
"""Of the model's size, at the peak of a round (ARCHITECTURE.md, what a round costs)."""
DAEMON_BYTES = 120_000_000
"""What a daemon and p2pd take whatever the model."""
CHECKPOINTS = 3
CHECKPOINT_VECTORS = 7
CHATTER_OF_EACH = 2_200
CHATTER_OF_RECORD = 830
"""Bytes a second: for each that is asked, and for each record that it tells. Measured with rounds
of 30 s: each peer sent 14 kB/s in a swarm of 3, and 56 kB/s in one of 7."""
MOST_ASKED = 20
"""hivemind asks so many of those whose identity is near to what is looked for."""
STATE_VECTORS = 2
"""Parameters and momentum: what a newcomer downloads."""


@dataclass(frozen=True)
class Traffic:
    """What the averaging takes, and a swarm's talk beside it."""

    round_seconds: float
    round_sent: float
    """Bytes in a round."""
    round_received: float
    chatter: float
    """Bytes a second each way, beside the rounds."""
    day_sent: float
    """Bytes in a day of training all the time."""
    day_received: float
    join_received: float
    """Bytes, once: the state and the text."""


def traffic_of(
    spec: RunSpec,
    parameters: int,
    others: int,
    tokens_per_second: float,
    client_mode: bool,
    text_missing: int,
) -> Traffic:
    """others: live peers beside this one; tokens_per_second: of all of them and this one.

    In a butterfly each of n members sends and receives B (1 + (n - 2) s), s being its share of
    the B encoded bytes; in client mode that share is 0.
    """
    members = max(2, others + 1)
    share = 0.0 if client_mode else 1 / members
    each_way = codec_named(spec.round.codec).encoded_bytes(parameters) * (1 + (members - 2) * share)
    seconds = round_seconds(spec, tokens_per_second)
    day = (each_way / seconds + chatter(others)) * DAY
    once = VALUE_BYTES * STATE_VECTORS * parameters + text_missing
    return Traffic(seconds, each_way, each_way, chatter(others), day, day, once)


def chatter(others: int) -> float:
    """Bytes a second each way for records, look-ups and signs of life: about what was measured.

    Each look asks others for the records of all, so it grows with the square of the swarm.
    """
    asked = min(others + 1, MOST_ASKED)  # the coordinator is one of them
    return asked * (CHATTER_OF_EACH + CHATTER_OF_RECORD * (others + 1))


def round_seconds(spec: RunSpec, tokens_per_second: float) -> float:
    """Between two rounds, as the swarm's speed and the spec have it."""
    if tokens_per_second <= 0:
        return spec.round.max_seconds
    wanted = spec.round.target_tokens / tokens_per_second
    return min(max(wanted, spec.round.min_seconds), spec.round.max_seconds)


def memory_wanted(parameters: int, trainer_bytes: int) -> int:
    """Bytes for daemon and trainer together."""
    return trainer_bytes + DAEMON_BYTES + DAEMON_VECTORS * VALUE_BYTES * parameters


def checkpoint_bytes(parameters: int) -> int:
    """Of one checkpoint on the disk."""
    return CHECKPOINT_VECTORS * VALUE_BYTES * parameters


def text_bytes(spec: RunSpec) -> int:
    """Of the run's text on the disk; 0: it is part of Python."""
    # twice, for a moment: each file, and all of them in one
    return 2 * sum(it.bytes + 1 for it in spec.data.downloads)
