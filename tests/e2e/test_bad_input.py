"""What `peer` says when something is wrong: one line that helps, and an exit code of its own."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from unittest.mock import create_autospec

import grpc
import pytest

from coordinator.registration import sign
from peer.run_metadata import check_published, save_metadata
from peer.runtime import RuntimeFolder
from swarmpb.exits import Exit
from swarmpb.signing import SigningKey
from swarmpb.spec import RunSpec, preset
from swarmpb.v1 import coordinator_pb2, coordinator_pb2_grpc
from swarmpb.version import PROTOCOL_VERSION
from tests.e2e.processes import (
    JOIN_SECONDS,
    Home,
    PeerProcess,
    Server,
    create_run,
    home_in,
    serving,
)
from tests.tiny import tiny_spec


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with home_in(tmp_path_factory.mktemp("home")) as home:
        yield home


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real coordinator with the run `tiny`."""
    with home_in(tmp_path_factory.mktemp("server")) as home, serving(home) as server:
        create_run(home, server.address, tiny_spec())
        yield server
        assert server.stop() == (0, "")


@contextmanager
def answering(answer: Callable[[], coordinator_pb2.RunInfo]) -> Iterator[str]:
    """The address of a coordinator that gives `answer` to whoever asks for a run."""
    servicer = create_autospec(coordinator_pb2_grpc.CoordinatorServicer, instance=True)
    servicer.GetRun.side_effect = lambda request, context: answer()
    servicer.Report.return_value = coordinator_pb2.ReportReply()
    server = grpc.server(ThreadPoolExecutor(2))
    coordinator_pb2_grpc.add_CoordinatorServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def published(
    home: Home,
    spec: RunSpec,
    protocol_version: int = PROTOCOL_VERSION,
    seconds_off: float = 0.0,
) -> coordinator_pb2.RunInfo:
    """A run as its coordinator would publish it."""
    return coordinator_pb2.RunInfo(
        run_id=spec.run_id,
        spec=sign(spec, SigningKey.load_or_create(home.path / "owner.key")),
        protocol_version=protocol_version,
        server_time_ms=int((time.time() + seconds_off) * 1000),
    )


def join(
    home: Home, address: str, *more: str, run_id: str = "tiny", **environment: str
) -> subprocess.CompletedProcess[str]:
    """`peer join` in the home's state folder, to its end."""
    peer = PeerProcess(home, "p", address, run_id)
    return home.peer(*peer.arguments, *more, **environment)


def assert_told(told: subprocess.CompletedProcess[str], code: Exit, *words: str) -> None:
    """One line for a person, with all of `words`, and the exit code that belongs to it."""
    assert told.returncode == code, told.stderr
    assert told.stderr.startswith("peer: ")
    assert told.stderr.count("\n") == 1, told.stderr
    for word in words:
        assert word in told.stderr


@contextmanager
def taken_port() -> Iterator[str]:
    """A port that is taken, and where nobody answers."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        yield str(nobody.getsockname()[1])


# ---- the run and its coordinator -------------------------------------------------------


def test_an_unknown_run(home: Home, server: Server) -> None:
    told = join(home, server.address, run_id="nope")
    assert_told(told, Exit.UNKNOWN_RUN, "no run named 'nope'", "coordinator run list")


def test_no_coordinator_and_where_an_error_comes_from_only_if_asked(home: Home) -> None:
    with taken_port() as port:
        address = f"127.0.0.1:{port}"
        told = join(home, address)
        arguments = PeerProcess(home, "p", address, "tiny").arguments
        shown = home.peer("--debug", *arguments)
    assert_told(
        told, Exit.COORDINATOR_UNREACHABLE, f"no coordinator answers at {address}", "--coordinator"
    )
    assert shown.returncode == Exit.COORDINATOR_UNREACHABLE
    assert "Traceback" in shown.stderr
    assert shown.stderr.endswith(told.stderr)


@pytest.mark.parametrize(("difference", "who"), [(1, "this peer"), (-1, "the coordinator")])
def test_another_protocol_says_who_must_update(home: Home, difference: int, who: str) -> None:
    version = PROTOCOL_VERSION + difference
    with answering(lambda: published(home, tiny_spec(), protocol_version=version)) as address:
        told = join(home, address)
    assert_told(told, Exit.PROTOCOL_MISMATCH, f"protocol {version}", f"update {who}")


def test_a_clock_that_is_off(home: Home) -> None:
    with answering(lambda: published(home, tiny_spec(), seconds_off=-30)) as address:
        told = join(home, address)
    assert_told(told, Exit.CLOCK_OFF, "s ahead of the coordinator's", "timedatectl set-ntp")


def test_a_spec_that_its_owner_did_not_sign(home: Home) -> None:
    def forged() -> coordinator_pb2.RunInfo:
        info = published(home, tiny_spec())
        info.spec.spec = tiny_spec(stop={"tokens": 2_000_000}).canonical()
        return info

    with answering(forged) as address:
        told = join(home, address)
    assert_told(told, Exit.BAD_SPEC, "signature", "tiny")


def test_another_spec_under_the_name_of_a_run_that_was_joined_here(home: Home) -> None:
    before = published(home, tiny_spec())
    folder = PeerProcess(home, "p", "", "tiny").folder
    folder.mkdir(parents=True)
    save_metadata(folder, check_published(before, "tiny"))
    other = tiny_spec(stop={"tokens": 2_000_000})
    with answering(lambda: published(home, other)) as address:
        told = join(home, address)
    hashes = before.spec.hash.hex()[:12], other.hash().hex()[:12]
    assert_told(told, Exit.SPEC_CHANGED, *hashes, "--state-dir")


def test_a_model_that_does_not_fit_is_told_before_it_is_built(home: Home) -> None:
    config = {**preset("demo").model.config, "hidden_size": 65_536, "num_hidden_layers": 96}
    spec = tiny_spec(model={"architecture": "LlamaForCausalLM", "config": config})
    with answering(lambda: published(home, spec)) as address:
        told = join(home, address)
    assert_told(told, Exit.NOT_ENOUGH_MEMORY, "this run's model needs about", "GB is free here")


# ---- this machine ----------------------------------------------------------------------


def test_a_port_in_use(home: Home, server: Server) -> None:
    told = join(home, server.address, "--p2p-port", server.p2p_port)
    assert_told(told, Exit.PORT_IN_USE, server.p2p_port, "--p2p-port")


def test_a_peer_of_this_run_is_running_here(home: Home) -> None:
    folder = PeerProcess(home, "p", "", "tiny").folder
    claimed = RuntimeFolder.claim(folder, "a test")
    try:
        told = join(home, "127.0.0.1:1")
    finally:
        claimed.close()
    assert_told(told, Exit.ALREADY_RUNNING, "a peer of run tiny is already running", "--state-dir")


def test_a_state_folder_that_cannot_be_one(home: Home) -> None:
    (home.path / "p").mkdir()
    (home.path / "p" / "runs").write_text("a file where a folder should be")
    told = join(home, "127.0.0.1:1")
    assert_told(told, Exit.STATE_FOLDER, f"{home.path}/p", "--state-dir")


@pytest.mark.parametrize("file", ["identity.key", "run.json"])
def test_a_state_folder_that_does_not_take_a_file(home: Home, file: str) -> None:
    folder = PeerProcess(home, "p", "", "tiny").folder
    (folder / file).mkdir(parents=True)  # so nothing can be written there
    with answering(lambda: published(home, tiny_spec())) as address:
        told = join(home, address)
    assert_told(told, Exit.STATE_FOLDER, "cannot write to the state folder", "--state-dir")


def test_damaged_files_are_set_aside_and_the_join_goes_on(home: Home, server: Server) -> None:
    peer = PeerProcess(home, "p", server.address, "tiny")
    peer.folder.mkdir(parents=True)
    files = {"run.json": '{"spec": "', "identity.key": "no key"}
    for name, content in files.items():
        (peer.folder / name).write_text(content)
    checkpoint = peer.folder / "checkpoints" / "3-1"
    checkpoint.mkdir(parents=True)
    (checkpoint / "manifest.json").write_text("half a")
    peer.start()
    peer.out.wait_for("training: ", JOIN_SECONDS)
    assert peer.leave() == 0
    errors = peer.err.to_the_end()
    for name, content in files.items():
        (aside,) = peer.folder.glob(f"{name}.damaged-*")
        assert aside.read_text() == content
        assert [line for line in errors if name in line and aside.name in line], errors
        assert (peer.folder / name).exists()  # made or fetched anew
    (aside,) = checkpoint.parent.glob("3-1.damaged-*")
    assert [line for line in errors if aside.name in line], errors


# ---- settings --------------------------------------------------------------------------


def test_every_wrong_setting_is_named_with_where_it_was_set(home: Home) -> None:
    home.config.mkdir(parents=True)
    (home.config / "peer.toml").write_text('theads = 2\nhost = "localhost"\n')
    told = home.peer(
        "join", "--run", "tiny", "--threads", "0", "--name", "?", PEER_COORDINATOR="nowhere"
    )
    faults = ("theads", "host", "threads", "name", "'nowhere'", "PEER_COORDINATOR", "peer.toml")
    assert_told(told, Exit.BAD_CONFIG, *faults)


def test_a_settings_file_that_is_not_toml(home: Home) -> None:
    home.config.mkdir(parents=True)
    (home.config / "peer.toml").write_text("threads = = 2\n")
    told = home.peer("join", "--run", "tiny")
    assert_told(told, Exit.BAD_CONFIG, str(home.config / "peer.toml"), "line 1")


@pytest.mark.parametrize("run_id", ["../elsewhere", "a/b", "Tiny", ""])
def test_what_cannot_be_the_name_of_a_run(home: Home, run_id: str) -> None:
    told = join(home, "127.0.0.1:1", run_id=run_id)
    assert_told(told, Exit.UNKNOWN_RUN, repr(run_id))
    assert not (home.path / "p").exists()


def test_a_status_of_nobody(home: Home) -> None:
    told = home.peer("status", "--state-dir", str(home.path / "p"))
    assert_told(told, Exit.NOT_RUNNING, "no peer is running", "peer join --run")


def test_every_command_has_an_example(home: Home) -> None:
    for command in ("join", "status"):
        assert f"Example: peer {command}" in home.peer(command, "--help").stdout
