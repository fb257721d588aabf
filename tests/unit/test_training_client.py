"""The daemon's side stays light, and the arguments of a trainer survive the trip."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from peer.training import messages
from peer.training.lease_queue import MAX_CHUNKS, MAX_LEASE
from peer.training.options import TrainerOptions, TrainerStart


def test_the_daemons_side_imports_no_torch() -> None:
    code = "import sys, peer.training.client; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_arguments_come_back_as_they_were_given() -> None:
    start = TrainerStart(5, 7, Path("/tmp/-a folder"), "cpu")  # noqa: S108
    assert TrainerStart.from_argv(start.to_argv()) == start


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"micro_batch": -1}])
def test_limits_out_of_bounds_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainerOptions(Path(), allow=messages.Allow(**wrong))  # type: ignore[arg-type]


def test_a_device_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="device"):
        TrainerOptions(Path(), "abacus")


def test_the_longest_lease_fits_in_a_line() -> None:
    longest = messages.Lease([MAX_CHUNKS - 1] * MAX_LEASE)
    assert len(messages.encode(longest)) <= messages.MAX_LINE_BYTES
    assert messages.decode(messages.encode(longest)) == longest
