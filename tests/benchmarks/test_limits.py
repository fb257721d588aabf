"""Limits on the wire: short, with real peers in network namespaces."""

from __future__ import annotations

import pytest

from tests.benchmarks.limits_network import measure, merging_rows, windows
from tests.benchmarks.namespaces import NoNamespacesError, require_namespaces

RATE = 2e6


@pytest.fixture(autouse=True)
def namespaces() -> None:
    try:
        require_namespaces()
    except NoNamespacesError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("direction", ["upload", "download"])
def test_a_rate_is_held_over_any_ten_seconds(direction: str) -> None:
    found = measure(direction, RATE, 20.0)
    assert found.most_of_all <= 1.1 * RATE
    assert found.least >= 0.9 * RATE


@pytest.mark.timeout(400)
def test_a_peer_at_a_quarter_of_a_megabit_is_in_rounds_of_the_demos_model() -> None:
    (row,) = merging_rows(small=True)
    # beside other tests on two processors it may be too late for one of them
    assert row.measured.startswith(("1 of 2 rounds have its work", "2 of 2"))


def test_windows_are_all_those_of_ten_seconds() -> None:
    seen = [(0.25 * it, 1000 * it) for it in range(60)]
    found = windows(seen, 8 * 4000)
    assert found.windows == 21, "the last begins ten seconds before the end, or a poll less"
    assert found.least == found.most == pytest.approx(8 * 4000)


def test_windows_with_a_pause_count_for_the_most_only() -> None:
    seen = [(0.25 * it, 1000 * min(it, 30 + max(0, it - 34))) for it in range(120)]
    found = windows(seen, 8 * 4000)
    assert found.most == found.most_of_all == pytest.approx(8 * 4000)
    assert found.least == pytest.approx(0.95 * 8 * 4000), "half a second of it at the most"
    assert found.windows < 81, "of all"
