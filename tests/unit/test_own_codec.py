"""With which codec a peer sends its own parts when its user allows little."""

from __future__ import annotations

import math

import numpy as np
import pytest

from peer.averaging.codec_names import CODECS, codec_named
from peer.averaging.codecs import encode
from peer.averaging.feedback import ErrorFeedback
from peer.averaging.links import Allowance, Link
from peer.averaging.own_codec import UPLOAD_SHARE, accepted, own_codec
from peer.averaging.parts import encoded_mean, split
from swarmpb.spec import RoundSpec

PARAMETERS = 1_000_000
ROUND = RoundSpec(
    target_tokens=10_000,
    min_seconds=1.0,
    max_seconds=60.0,
    exchange_seconds=20.0,
    min_peers=2,
    codec="fp32",
)


def spec(codec: str) -> RoundSpec:
    return ROUND.model_copy(update={"codec": codec})


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_without_limits_the_runs_codec_is_used(codec: str) -> None:
    assert own_codec(spec(codec), PARAMETERS, Allowance()).name == codec


def test_the_slower_the_upload_the_stronger_the_codec_as_far_as_needed() -> None:
    seconds = UPLOAD_SHARE * ROUND.exchange_seconds
    chosen = [
        own_codec(ROUND, PARAMETERS, Allowance(upload=bytes_a_value * PARAMETERS / seconds)).name
        for bytes_a_value in (4.01, 3.9, 2.1, 1.9, 1.1, 0.9, 0.6, 0.3, 0.001)
    ]
    assert chosen == [
        "fp32", "fp16", "fp16", "int8", "int8", "int4", "int4", "sparse", "sparse",
    ]  # fmt: skip


def test_data_is_saved_by_the_codec_once_rounds_cannot_be_longer() -> None:
    int8 = spec("int8")
    both_ways = 2 * codec_named("int8").encoded_bytes(PARAMETERS)
    enough = both_ways / ROUND.max_seconds
    assert own_codec(int8, PARAMETERS, Allowance(data=1.01 * enough)).name == "int8"
    assert own_codec(int8, PARAMETERS, Allowance(data=0.8 * enough)).name == "int4"
    assert own_codec(int8, PARAMETERS, Allowance(data=0.1 * enough)).name == "sparse"


def test_a_run_with_the_strongest_codec_has_none_that_is_stronger() -> None:
    assert own_codec(spec("sparse"), PARAMETERS, Allowance(upload=1)).name == "sparse"


def test_an_owner_takes_known_codecs_that_are_no_larger_than_the_runs() -> None:
    int8 = codec_named("int8")
    assert accepted("", int8) is int8
    assert accepted("int4", int8) is codec_named("int4")
    assert accepted("sparse", int8) is codec_named("sparse")
    for refused in ("fp32", "fp16", "gzip", "INT4", "x" * 10_000):
        assert accepted(refused, int8) is None


def test_a_mean_of_parts_in_several_codecs_is_the_mean_of_what_they_say() -> None:
    random = np.random.default_rng(0)
    values = [random.standard_normal(4096, np.float32) for _ in range(3)]
    senders = [codec_named(it) for it in ("fp32", "int8", "sparse")]
    lost = [it.copy() for it in values]
    sent = [encode(codec, it) for codec, it in zip(senders, lost, strict=True)]
    weighted = [(data, 1.0) for data in sent]
    encoded, _ = encoded_mean(codec_named("fp32"), 4096, weighted, None, senders)
    said = np.mean([v - it for v, it in zip(values, lost, strict=True)], axis=0)
    np.testing.assert_allclose(np.frombuffer(encoded, np.float32), said, atol=1e-5)


@pytest.mark.parametrize("strong", ["int4", "sparse"])
def test_what_a_stronger_codec_has_lost_is_sent_later_also_with_an_exact_one(strong: str) -> None:
    """A month's data runs short, and then it is the next month: nothing is lost, or sent twice."""
    random = np.random.default_rng(1)
    feedback = ErrorFeedback(lossy=False)
    parts = split(8192, [2])
    base, total, arrived = np.zeros(8192, np.float32), np.zeros(8192), np.zeros(8192)
    for name in (strong, strong, "fp32", "fp32"):
        codec = codec_named(name)
        cut = -random.standard_normal(8192, np.float32)
        total += base - cut
        work = feedback.work(base, cut, codec.lossy)
        for part in parts:
            data = work.encode(codec, part)
            mean, _ = encoded_mean(codec_named("fp32"), part.values, [(data, 1.0)], None, [codec])
            arrived[part.where] += np.frombuffer(mean, np.float32)
        feedback.keep(work, parts, {})
    np.testing.assert_allclose(arrived, total, atol=1e-4)


def test_what_was_lost_survives_a_checkpoint_of_a_run_with_an_exact_codec() -> None:
    feedback = ErrorFeedback(lossy=False)
    parts = split(4096, [1])
    cut = np.random.default_rng(2).standard_normal(4096, np.float32)
    work = feedback.work(np.zeros(4096, np.float32), cut, lossy=True)
    work.encode(codec_named("sparse"), parts[0])
    feedback.keep(work, parts, {})
    resumed = ErrorFeedback(lossy=False)
    resumed.restore(feedback.arrays(), 4096)
    assert resumed.arrays().keys() == feedback.arrays().keys() == {"sent"}


# ---- the link --------------------------------------------------------------------------


def test_a_limit_is_claimed_before_a_link_has_shown_anything() -> None:
    assert Allowance(250_000, 500_000).of(Link()) == Link(250_000, 500_000)


def test_nobody_claims_more_than_a_link_has_shown_or_less_than_can_be_used() -> None:
    shown = Link(1_000_000, 100_000, client_mode=True)
    assert Allowance(250_000, 500_000).of(shown) == Link(250_000, 100_000, client_mode=True)
    assert Allowance(0.0, math.inf, 10.0).of(shown) == Link(1000, 1000, client_mode=True)
    assert Allowance().of(shown) == shown


def test_a_months_data_bounds_both_directions() -> None:
    assert Allowance(data=7000).of(Link(1_000_000, 5000)) == Link(7000, 5000)
