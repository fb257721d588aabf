"""A run's model: from the shelf or from its peers, whole or not at all, and nothing left running.

The process that fetches it is played by a few lines of Python; the real one is in tests/e2e.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from coordinator import exporting
from coordinator.commands.run_export import export_run
from coordinator.domain import Run
from coordinator.exporting import Export, Exporter
from coordinator.model_keeper import FACTS_FILE, MAX_TRIES, KeptModels, ModelKeeper
from swarmpb.exits import Exit, UserError
from swarmpb.spec import preset
from swarmpb.v1 import coordinator_pb2, membership_pb2, swarm_pb2

FACTS = {"run_id": "demo", "round": 7}
SPEC = preset("demo").canonical()
DEMO = Run("demo", SPEC, b"hash", b"owner", b"signed", "", 1, 0)

WRITES = """
request = json.loads(sys.stdin.readline())
say({"progress": "half of it is there"})
folder = Path(request["folder"])
folder.mkdir(parents=True)
(folder / "murmuration.json").write_text('{"run_id": "demo", "round": 7}')
say({"written": {"run_id": "demo", "round": 7}})
"""
FAILS = """
sys.stdin.readline()
say({"failed": {"code": 23, "reason": "nobody is there"}})
"""
DIES = "sys.exit('killed by the moon')"
HANGS_UNTIL_ITS_LIFELINE_ENDS = """
say({"progress": "fetching"})
sys.stdin.read()
"""


def played(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let this script fetch models from now on."""
    head = "import json, sys\nfrom pathlib import Path\n"
    say = "def say(news): print(json.dumps(news), flush=True)\n"
    command = [sys.executable, "-c", head + say + script]
    monkeypatch.setattr(exporting, "COMMAND", command)


def everybody(_envelope: swarm_pb2.Envelope) -> membership_pb2.Admission:
    """The run is open."""
    return membership_pb2.Admission()


def an_export(folder: Path) -> Export:
    return Export("demo", run_info().spec, (), folder)


def run_info() -> coordinator_pb2.RunInfo:
    return coordinator_pb2.RunInfo(
        run_id="demo",
        spec=coordinator_pb2.SignedSpec(spec=SPEC, hash=b"hash"),
        initial_peers=["/ip4/…"],
    )


def test_a_model_comes_from_the_peers_while_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played(monkeypatch, WRITES)
    words: list[str] = []
    facts = export_run(
        run_info(), KeptModels(tmp_path / "kept"), tmp_path / "model", everybody, words.append
    )
    assert facts == FACTS
    assert words == ["half of it is there"]
    assert (tmp_path / "model" / FACTS_FILE).is_file()


def test_the_model_of_a_run_that_ended_is_the_one_that_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played(monkeypatch, DIES)
    kept = KeptModels(tmp_path / "kept")
    place = kept.place("demo", b"hash")
    place.mkdir(parents=True)
    (place / FACTS_FILE).write_text(json.dumps(FACTS))
    (place / "model.safetensors").write_bytes(b"weights")
    for _ in range(2):  # the second time it takes the place of the first copy
        assert export_run(run_info(), kept, tmp_path / "model", everybody, print) == FACTS
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == b"weights"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "model"]


def test_a_folder_with_something_else_in_it_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played(monkeypatch, WRITES)
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="choose another folder") as told:
        export_run(run_info(), KeptModels(tmp_path / "kept"), tmp_path, everybody, print)
    assert told.value.code == Exit.STATE_FOLDER
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        (FAILS, Exit.SWARM_UNREACHABLE, "nobody is there"),
        (DIES, Exit.REFUSED, "killed by the moon"),
    ],
)
def test_why_there_is_no_model_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, code: Exit, words: str
) -> None:
    played(monkeypatch, script)
    with (
        Exporter(an_export(tmp_path / "model"), everybody) as exporter,
        pytest.raises(UserError, match=words) as told,
    ):
        exporter.run(print)
    assert told.value.code == code


def test_nothing_is_left_running_when_nobody_waits_for_the_model_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played(monkeypatch, HANGS_UNTIL_ITS_LIFELINE_ENDS)

    class EnoughError(Exception):
        pass

    def enough(_words: str) -> None:
        raise EnoughError

    before = set(psutil.Process().children())
    with Exporter(an_export(tmp_path / "model"), everybody) as exporter, pytest.raises(EnoughError):
        exporter.run(enough)
    assert set(psutil.Process().children()) == before


# ---- what a coordinator keeps ------------------------------------------------------------


class EndedRuns:
    """The run `demo` has ended; `seen` is set once it was looked for often enough."""

    def __init__(self, looks: int) -> None:
        self._left = looks

    async def __call__(self) -> list[Run]:
        if not self._left:
            raise _SeenEnoughError
        self._left -= 1
        return [DEMO]


class _SeenEnoughError(Exception):
    pass


@pytest.mark.anyio
async def test_the_model_of_a_run_that_ends_is_fetched_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played(monkeypatch, WRITES)
    monkeypatch.setattr("coordinator.model_keeper.LOOK_SECONDS", 0.0)
    models = KeptModels(tmp_path)
    keeper = ModelKeeper(models, EndedRuns(looks=3), (), everybody)
    assert keeper.wants(DEMO)
    with pytest.raises(_SeenEnoughError):
        await keeper.keep()
    assert models.has("demo", b"hash")
    assert not models.has("demo", b"another"), "of a run of its name that was deleted"
    assert not keeper.wants(DEMO)


def test_the_model_of_a_run_that_is_deleted_goes_with_it(tmp_path: Path) -> None:
    models = KeptModels(tmp_path)
    place = models.place("demo", b"hash")
    place.mkdir()
    (place / FACTS_FILE).write_text("{}")
    keeper = ModelKeeper(models, EndedRuns(looks=0), (), everybody)
    for _ in range(2):
        keeper.forget(DEMO)
        assert not place.exists()


@pytest.mark.anyio
async def test_peers_are_not_kept_waiting_for_a_model_that_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    played(monkeypatch, FAILS)
    monkeypatch.setattr("coordinator.model_keeper.LOOK_SECONDS", 0.0)
    monkeypatch.setattr("coordinator.model_keeper.RETRY_SECONDS", 0.0)
    keeper = ModelKeeper(KeptModels(tmp_path), EndedRuns(looks=MAX_TRIES), (), everybody)
    with pytest.raises(_SeenEnoughError):
        await keeper.keep()
    assert not keeper.wants(DEMO)
    assert "not kept yet: nobody is there" in caplog.text


def test_a_coordinator_that_stops_in_the_middle_leaves_no_process_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played(monkeypatch, HANGS_UNTIL_ITS_LIFELINE_ENDS)
    exporter = Exporter(an_export(tmp_path / "model"), everybody)
    process = psutil.Process(exporter.pid)
    exporter.close()
    with pytest.raises(psutil.NoSuchProcess):
        process.status()


def test_the_real_command_says_at_once_what_it_cannot_read() -> None:
    done = subprocess.run(
        exporting.COMMAND, input=b"no request\n", capture_output=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert done.stdout == b""
