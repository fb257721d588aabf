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
    options = TrainerOptions(Path("/tmp/-a folder"), 3, "cpu", 4)  # noqa: S108
    start = TrainerStart(5, 7, options)
    assert TrainerStart.from_argv(start.to_argv()) == start


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"device": "abacus"}, {"micro_batch": -1}])
def test_options_out_of_bounds_are_refused(wrong: dict[str, int | str]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainerOptions(Path(), **wrong)  # type: ignore[arg-type]


def test_the_longest_lease_fits_in_a_line() -> None:
    longest = messages.Lease([MAX_CHUNKS - 1] * MAX_LEASE)
    assert len(messages.encode(longest)) <= messages.MAX_LINE_BYTES
    assert messages.decode(messages.encode(longest)) == longest
