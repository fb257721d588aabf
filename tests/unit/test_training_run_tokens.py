"""How far the run is between two rounds."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from peer.training.run_tokens import RunTokens


def test_a_peer_counts_what_it_trains() -> None:
    assert replace(RunTokens(1000), own=32).known == 1032


def test_between_rounds_the_others_are_taken_to_go_on_as_they_did() -> None:
    after = replace(RunTokens(1000), own=32).after_round(1128)  # four such peers
    assert replace(after, own=32).known == 1128 + 4 * 32


@given(own=st.integers(0, 10**6), before=st.integers(0, 10**6), merged=st.integers(0, 10**6))
def test_the_others_are_not_taken_to_do_more_than_a_round(
    own: int, before: int, merged: int
) -> None:
    after = replace(RunTokens(before), own=own).after_round(merged)
    for later in (0, 1, own, 10 * own):
        known = replace(after, own=later).known
        assert merged + later <= known <= merged + max(later, abs(merged - before))
