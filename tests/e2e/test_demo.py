"""The real `coordinator demo`: a swarm of processes, watched from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from swarmpb.exits import Exit
from tests.e2e.processes import alive_after

COMMAND = Path(sys.executable).with_name("coordinator")
TOKENS = "200000"
MARK = "MURMURATION_TEST"
"""An environment variable that everything a demo starts inherits, its grandchildren too."""


class Demo:
    """A running `coordinator demo` and all that it started."""

    def __init__(self, folder: Path, temporary: Path, *arguments: str) -> None:
        self.temporary = temporary
        self.lines: list[str] = []
        self._mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [COMMAND, "demo", "--tokens", TOKENS, "--folder", folder, *arguments],
            env={**os.environ, MARK: self._mark, "TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def until(self, words: str) -> str:
        """The first line from now on that has these words."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if words in line:
                return line
        raise AssertionError(f"it ended without {words!r}:\n{''.join(self.lines)}")

    def end(self) -> int:
        """Its exit code, once it has ended."""
        assert self.process.stdout is not None
        self.lines += self.process.stdout
        return self.process.wait()

    def alive(self) -> list[psutil.Process]:
        """Every process that it started, directly or not, and itself."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def assert_gone(self, seconds: float = 0) -> None:
        """Nothing lives; waits for the ends at most so long."""
        assert alive_after(seconds, self.alive()) == []

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            dead = process.status() == psutil.STATUS_ZOMBIE
            return not dead and process.environ().get(MARK) == self._mark
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False


@contextmanager
def demo(folder: Path, *arguments: str) -> Iterator[Demo]:
    # a short path: names of sockets have at most 107 bytes
    with tempfile.TemporaryDirectory(prefix="mt-") as temporary:
        it = Demo(folder, Path(temporary), *arguments)
        try:
            yield it
        finally:
            for process in it.alive():
                process.kill()
            it.process.communicate()


LOAD = """
import json, sys
from transformers import AutoModelForCausalLM, ByT5Tokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
tokenizer = ByT5Tokenizer.from_pretrained(sys.argv[1])
prompt = tokenizer("def main(", return_tensors="pt", add_special_tokens=False)
written = model.generate(**prompt, max_new_tokens=8, do_sample=False)
print(json.dumps(tokenizer.decode(written[0])))
"""


def continued(model: str) -> str:
    """What the model makes of `def main(`, in a process that knows nothing of us."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    output = subprocess.check_output([sys.executable, "-c", LOAD, model], env=environment)
    return str(json.loads(output))


@pytest.mark.timeout(400)  # 45 s on two idle cores, three times that on busy ones
def test_a_swarm_trains_a_model_though_one_is_killed_and_one_comes_late(tmp_path: Path) -> None:
    summary_file = tmp_path / "summary.json"
    with demo(tmp_path / "demo", "--summary", str(summary_file)) as it:
        code = it.end()
        it.assert_gone()
        assert code == 0, "".join(it.lines)
        assert list(it.temporary.glob("murmuration-*")) == []
    told = "".join(it.lines)
    assert "peer-3 killed with SIGKILL" in told
    assert "peer-4 joins late" in told

    summary: dict[str, Any] = json.loads(summary_file.read_text())
    assert_plausible(summary)
    assert summary["model_path"] == str(tmp_path / "demo" / "model")
    assert continued(summary["model_path"]).startswith("def main(")
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == ["logs", "model"]


def assert_plausible(summary: dict[str, Any]) -> None:
    peers = summary["peers"]
    assert list(summary) == [
        "rounds_committed", "rounds_void", "first_loss", "last_loss", "digests_agree", "peers",
        "bytes_sent_per_round", "model_path", "seconds", "coverage",
    ]  # fmt: skip
    assert all(list(peer) == ["peer_id", "tokens", "rounds", "exit"] for peer in peers)
    assert [peer["exit"] for peer in peers] == [0, 0, -signal.SIGKILL, 0]
    assert all(peer["tokens"] > 0 and peer["rounds"] > 0 for peer in peers), peers
    assert len({peer["peer_id"] for peer in peers}) == 4
    # the killed peer's last report may be older than its last merged round
    merged = sum(peer["tokens"] for peer in peers)
    assert 0.6 * int(TOKENS) < merged < 2 * int(TOKENS)
    assert summary["digests_agree"] is True
    assert summary["rounds_committed"] >= 4
    assert summary["last_loss"] < summary["first_loss"] - 2
    assert summary["bytes_sent_per_round"] > 4e5  # int4, a million parameters


def test_ctrl_c_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    with demo(tmp_path / "demo", "--peers", "2") as it:
        it.until("round 1:")
        it.process.send_signal(signal.SIGINT)
        assert it.end() == Exit.INTERRUPTED
        it.assert_gone()
        assert list(it.temporary.glob("murmuration-*")) == []
    assert it.lines[-1].startswith("coordinator: interrupted, everything has been stopped")


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with demo(tmp_path / "demo") as it:
        it.until("start: imports")
        it.process.send_signal(signal.SIGTERM)
        it.process.send_signal(signal.SIGINT)
        assert it.end() == Exit.INTERRUPTED
        it.assert_gone()


def test_not_even_sigkill_leaves_a_swarm_behind(tmp_path: Path) -> None:
    with demo(tmp_path / "demo", "--peers", "2") as it:
        it.until("training is under way")
        assert len(it.alive()) > 8  # each peer has a trainer and a p2pd
        it.process.kill()
        it.process.wait()
        it.assert_gone(seconds=10)


def test_a_coordinator_that_dies_is_told_with_its_last_words(tmp_path: Path) -> None:
    with demo(tmp_path / "demo") as it:
        it.until("start: imports")
        (coordinator,) = [process for process in it.alive() if "serve" in process.cmdline()]
        coordinator.kill()
        assert it.end() == Exit.DEMO_FAILED
        it.assert_gone()
    assert "coordinator was killed by signal 9" in it.lines[-1]
    assert str(tmp_path / "demo" / "logs") in it.lines[-1]


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with demo(tmp_path) as it:
        assert it.end() == Exit.BAD_CONFIG
    assert "is not empty; name a new folder with --folder" in it.lines[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("arguments", [("--peers", "1"), ("--tokens", "5")])
def test_what_no_demo_can_show_is_refused(tmp_path: Path, arguments: tuple[str, str]) -> None:
    with demo(tmp_path / "demo", *arguments) as it:
        assert it.end() == 2
    assert not (tmp_path / "demo").exists()
