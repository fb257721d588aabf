"""A real `coordinator serve`, asked over real gRPC and through its own commands."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from coordinator.commands.client import AdminClient
from coordinator.config import TOKEN_FILE
from coordinator.membership.admin_token import bearer, read_token
from coordinator.registration import Publication, publish, sign
from coordinator.rpc.servicer import MAX_REQUEST_BYTES
from swarmpb.exits import Exit, UserError
from swarmpb.membership import RunIdentity, read_orders
from swarmpb.signing import PeerIdentity, SigningKey
from swarmpb.spec import parse_toml, preset, preset_text
from swarmpb.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    coordinator_pb2,
    coordinator_pb2_grpc,
    swarm_pb2,
)
from swarmpb.version import PROTOCOL_VERSION
from tests.e2e.processes import Home, Server, serving, stub_of
from tests.reporting import identity, round_message, signed_report


@contextmanager
def refused(code: grpc.StatusCode, words: str) -> Iterator[None]:
    with pytest.raises(grpc.RpcError) as caught:
        yield
    error = caught.value
    assert isinstance(error, grpc.Call)
    details = error.details() or ""
    assert error.code() == code, details
    assert re.search(words, details), details
    assert "\n" not in details


def restore(
    stub: coordinator_pb2_grpc.CoordinatorStub, signed: coordinator_pb2.SignedSpec
) -> coordinator_pb2.RunInfo:
    return stub.RestoreRun(coordinator_pb2.RestoreRunRequest(spec=signed))


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("c"))  # a socket's path has at most 107 bytes


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("coordinator"))


@pytest.fixture(scope="module")
def shared(shared_home: Home) -> Iterator[Server]:
    """One coordinator with the run `demo` for all tests that do not end it."""
    with serving(shared_home, "--demo") as server:
        yield server
        code, told = server.stop()
        assert code == 0
        assert [line for line in told.splitlines() if "report refused" not in line] == []


@pytest.fixture
def stub(shared: Server) -> Iterator[coordinator_pb2_grpc.CoordinatorStub]:
    with stub_of(shared.address) as it:
        yield it


# ---- what peers ask --------------------------------------------------------------------


def test_a_peer_finds_what_it_needs_to_join(
    shared: Server, stub: coordinator_pb2_grpc.CoordinatorStub
) -> None:
    info = stub.GetRun(coordinator_pb2.GetRunRequest(run_id="demo"))
    assert info.spec.spec == preset("demo").canonical()
    assert info.spec.hash == preset("demo").hash()
    assert list(info.initial_peers) == [shared.initial_peer]
    assert info.protocol_version == PROTOCOL_VERSION
    assert info.server_time_ms >= info.created_at_ms > 0


def test_reports_become_progress(stub: coordinator_pb2_grpc.CoordinatorStub) -> None:
    for number in range(2):
        told = signed_report(
            identity(number),
            round=3,
            rounds=[round_message(it) for it in (1, 2, 3)],
            train_loss=2.0,
        )
        assert stub.Report(told).accepted_sequence == 1
    progress = stub.GetProgress(coordinator_pb2.GetRunRequest(run_id="demo"))
    assert (progress.peers_live, progress.round, progress.tokens) == (2, 3, 3000)
    assert (progress.rounds_committed, progress.digests_agree) == (3, True)
    assert progress.tokens_per_second == 200.0


def test_an_unknown_run_is_named(stub: coordinator_pb2_grpc.CoordinatorStub) -> None:
    ask = coordinator_pb2.GetRunRequest(run_id="nope")
    with refused(grpc.StatusCode.NOT_FOUND, "no run named 'nope'"):
        stub.GetRun(ask)
    with refused(grpc.StatusCode.NOT_FOUND, "coordinator run list"):
        stub.GetProgress(ask)


def test_unsigned_and_forged_reports_are_refused(
    stub: coordinator_pb2_grpc.CoordinatorStub,
) -> None:
    with refused(grpc.StatusCode.UNAUTHENTICATED, "public key"):
        stub.Report(swarm_pb2.Envelope(kind="report", payload=b"x"))
    forged = signed_report(identity(0), peer_id=identity(1).peer_id, sequence=9)
    with refused(grpc.StatusCode.UNAUTHENTICATED, "signed it"):
        stub.Report(forged)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "tokens_per_second is inf"):
        stub.Report(signed_report(identity(2), tokens_per_second=float("inf")))


def test_a_message_too_large_to_be_a_report_is_refused_unread(
    stub: coordinator_pb2_grpc.CoordinatorStub,
) -> None:
    flood = swarm_pb2.Envelope(kind="report", payload=bytes(MAX_REQUEST_BYTES + 1))
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max"):
        stub.Report(flood)
    assert stub.ListRuns(coordinator_pb2.ListRunsRequest()).runs


# ---- what owners ask -------------------------------------------------------------------


def test_an_owner_creates_a_run_from_an_edited_preset_that_then_stays_as_it_is(
    shared: Server,
    shared_home: Home,
    stub: coordinator_pb2_grpc.CoordinatorStub,
    tmp_path: Path,
) -> None:
    printed = shared_home.run("run", "preset", "demo")
    assert printed.stdout == preset_text("demo")
    spec = tmp_path / "mine.toml"
    spec.write_text(printed.stdout.replace('"demo"', '"mine"', 1))
    created = shared_home.run("run", "create", str(spec), "--coordinator", shared.address)
    assert (created.returncode, created.stderr) == (0, "")
    assert f"peer join murmuration://{shared.address}/mine\n" in created.stdout
    assert re.search("its owner is [0-9a-f]{64}\n", created.stdout)

    same = parse_toml(spec.read_text())
    other = parse_toml(spec.read_text().replace("seed = 1", "seed = 2"))
    key = SigningKey.load_or_create(shared_home.path / "config" / "murmuration" / "owner.key")
    before = stub.GetRun(coordinator_pb2.GetRunRequest(run_id="mine"))
    with AdminClient(shared.address, read_token(shared_home.state / TOKEN_FILE)) as admin:
        again = publish(admin, same, key, Publication())
        assert again.spec.hash.hex() in created.stdout
        run = RunIdentity("mine", again.spec.hash, key.public_key)
        newer, older = (read_orders(it.orders, run) for it in (again, before))
        assert newer.rank > older.rank
        assert newer.authority == older.authority == admin.authority()
        with pytest.raises(UserError, match="specs never change"):
            publish(admin, other, key, Publication())


def test_an_admin_call_without_the_owners_token_is_refused_whatever_it_says(
    shared: Server, shared_home: Home, tmp_path: Path
) -> None:
    with grpc.insecure_channel(shared.address) as channel:
        stub = admin_pb2_grpc.AdminStub(channel)
        for metadata in (None, bearer("x" * 43), (("authorization", ""),)):
            with refused(grpc.StatusCode.UNAUTHENTICATED, "admin.token"):
                stub.GetAuthority(admin_pb2.GetAuthorityRequest(), metadata=metadata)
        with refused(grpc.StatusCode.UNAUTHENTICATED, "--token-file"):
            list(stub.ListEvents(admin_pb2.ListEventsRequest(follow=True)))
    token = shared_home.state / TOKEN_FILE
    assert token.stat().st_mode & 0o777 == 0o600
    wrong, spec = tmp_path / "wrong", tmp_path / "mine.toml"
    wrong.write_text("y" * 43)
    spec.write_text(preset_text("demo"))
    asked = ("run", "create", str(spec), "--coordinator", shared.address)
    told = shared_home.run(*asked, "--token-file", str(wrong))
    assert (told.returncode, told.stderr.count("\n")) == (Exit.NO_TOKEN, 1)
    assert "admin token is missing or wrong" in told.stderr


def test_a_bad_spec_is_told_with_all_its_faults_in_one_line(
    shared: Server, shared_home: Home, tmp_path: Path
) -> None:
    spec = tmp_path / "bad.toml"
    spec.write_text(
        preset_text("demo")
        .replace("seed = 1", "sede = 1")
        .replace("momentum = 0.5", "momentum = 1.5")
        .replace('codec = "int4"', 'codec = "int3"')
    )
    told = shared_home.run("run", "create", str(spec), "--coordinator", shared.address)
    assert told.returncode == Exit.BAD_SPEC
    assert told.stderr.count("\n") == 1
    for fault in ("sede: unknown key", "seed: missing", "outer.momentum", "round.codec"):
        assert fault in told.stderr


def test_a_model_that_transformers_does_not_know_is_a_bad_spec(
    shared: Server, shared_home: Home, tmp_path: Path
) -> None:
    spec = tmp_path / "bad.toml"
    spec.write_text(preset_text("demo").replace("LlamaForCausalLM", "LammaForCausalLM"))
    told = shared_home.run("run", "create", str(spec), "--coordinator", shared.address)
    assert told.returncode == Exit.BAD_SPEC
    assert "LammaForCausalLM" in told.stderr
    assert told.stderr.count("\n") == 1


def test_a_run_is_shown_to_people_and_to_scripts(
    shared: Server, shared_home: Home, stub: coordinator_pb2_grpc.CoordinatorStub
) -> None:
    author = PeerIdentity.generate()
    reason = "waiting: 1 of 2 peers needed; invite another with `peer join --run demo`"
    stub.Report(signed_report(author, name="zoe", reason=reason, rounds=[round_message(1)]))
    asked = ("--coordinator", shared.address)

    listed = shared_home.run("run", "list", *asked)
    assert "demo" in listed.stdout
    shown = shared_home.run("run", "show", "demo", *asked).stdout
    assert f"initial peer  {shared.initial_peer}\n" in shown
    assert preset("demo").hash().hex() in shown
    assert re.search(r"under way: \d peers? live", shown)
    assert re.search(r"zoe .*\d s ago", shown)
    assert "1 of 2 peers" in shown
    table = shown.partition("\n\n")[2]
    assert all(len(line) <= 80 for line in table.splitlines())
    assert "\x1b" not in shown

    (demo,) = [
        it
        for it in json.loads(shared_home.run("run", "list", "--json", *asked).stdout)
        if it["run_id"] == "demo"
    ]
    assert demo["target_tokens"] == preset("demo").stop.tokens
    facts = json.loads(shared_home.run("run", "show", "demo", "--json", *asked).stdout)
    assert facts["info"]["spec"]["hash"] == preset("demo").hash().hex()
    (zoe,) = [it for it in facts["progress"]["peers"] if it["name"] == "zoe"]
    assert (zoe["peer_id"], zoe["live"], zoe["train_loss"]) == (author.peer_id, True, None)


def test_an_unknown_run_and_a_silent_coordinator_have_their_exit_codes(
    shared: Server, shared_home: Home
) -> None:
    unknown = shared_home.run("run", "show", "nope", "--coordinator", shared.address)
    assert unknown.returncode == Exit.UNKNOWN_RUN
    assert unknown.stderr == (
        "coordinator: no run named 'nope'; `coordinator run list` shows them\n"
    )
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, and nobody listens
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        silent = shared_home.run("run", "list", "--coordinator", address)
    assert silent.returncode == Exit.COORDINATOR_UNREACHABLE
    assert silent.stderr == (
        f"coordinator: no coordinator answers at {address}; start one with `coordinator serve`"
        " or name another with --coordinator\n"
    )


# ---- starting and ending ---------------------------------------------------------------


def test_a_restart_keeps_address_runs_and_reports_and_leaves_nothing_behind(home: Home) -> None:
    with serving(home, "--demo") as first:
        with stub_of(first.address) as stub:
            stub.Report(signed_report(identity(), rounds=[round_message(1), round_message(2)]))
        first.kill()
    with serving(home, "--p2p-port", first.p2p_port) as second:
        assert second.initial_peer == first.initial_peer
        with stub_of(second.address) as stub:
            progress = stub.GetProgress(coordinator_pb2.GetRunRequest(run_id="demo"))
            assert (progress.rounds_committed, progress.tokens) == (2, 2000)
            assert [it.peer_id for it in progress.peers] == [identity().peer_id]
            info = stub.GetRun(coordinator_pb2.GetRunRequest(run_id="demo"))
            assert (info.round, list(info.initial_peers)) == (2, [first.initial_peer])
        assert second.stop(signal.SIGINT) == (0, "")
    assert list(home.temporary.iterdir()) == []
    assert (home.state / "p2p_identity").stat().st_mode & 0o777 == 0o600


def test_peers_restore_a_lost_run_of_this_machines_owner_or_of_one_that_is_named(
    home: Home,
) -> None:
    own = sign(preset("demo"), SigningKey.load_or_create(home.config / "owner.key"))
    named, other = (SigningKey.load_or_create(home.path / name) for name in ("named", "other"))
    mine, strange = (preset("demo").model_copy(update={"run_id": it}) for it in ("mine", "strange"))
    with serving(home, "--restore-owner", named.public_key.hex()) as server:
        with stub_of(server.address) as stub:
            for signed in (own, sign(mine, named)):
                assert restore(stub, signed).spec == signed
            with refused(grpc.StatusCode.PERMISSION_DENIED, other.public_key.hex()):
                restore(stub, sign(strange, other))
        shown = home.run("run", "show", "mine", "--coordinator", server.address).stdout
        assert f"owner         ed25519 {named.public_key.hex()}\n" in shown
        assert server.stop() == (0, "")


def test_a_key_that_is_none_is_a_usage_error(home: Home) -> None:
    told = home.run("serve", "--restore-owner", "zz" * 32)
    assert told.returncode == 2
    assert "64 hexadecimal digits" in told.stderr


def test_damaged_state_is_set_aside_and_said(home: Home) -> None:
    home.state.mkdir()
    (home.state / "coordinator.sqlite").write_bytes(b"no database " * 100)
    (home.state / "p2p_identity").write_bytes(b"no identity")
    with serving(home, "--demo") as server:
        code, errors = server.stop()
    assert code == 0
    assert errors.count("damaged-1") == 2
    assert len(list(home.state.glob("*.damaged-1"))) == 2


def test_a_second_coordinator_in_the_same_folder_is_told_so(
    shared: Server, shared_home: Home
) -> None:
    told = shared_home.run("serve", "--grpc-port", "0", "--p2p-port", "0", "--http-port", "0")
    assert told.returncode == Exit.ALREADY_RUNNING
    assert str(shared.process.pid) in told.stderr
    assert told.stderr.count("\n") == 1


def test_a_port_in_use_is_named_with_the_flag_that_changes_it(shared: Server, home: Home) -> None:
    port = shared.address.rpartition(":")[2]
    others = ("--p2p-port", "0", "--http-port", "0")
    told = home.run("serve", "--grpc-port", port, *others)
    assert told.returncode == Exit.PORT_IN_USE
    assert port in told.stderr
    assert "--grpc-port" in told.stderr
    assert told.stderr.count("\n") == 1

    others = ("--grpc-port", "0", "--http-port", "0")
    told = home.run("serve", "--p2p-port", shared.p2p_port, *others)
    assert told.returncode == Exit.PORT_IN_USE
    assert "--p2p-port" in told.stderr
    assert told.stderr.count("\n") == 1

    others = ("--grpc-port", "0", "--p2p-port", "0")
    told = home.run("serve", "--http-port", shared.http_port, *others)
    assert told.returncode == Exit.PORT_IN_USE
    assert "--http-port" in told.stderr
    assert told.stderr.count("\n") == 1


def test_a_state_folder_that_cannot_be_written_is_told_in_one_line(home: Home) -> None:
    home.state.write_text("a file where the folder should be")
    told = home.run("serve", "--grpc-port", "0", "--p2p-port", "0", "--http-port", "0")
    assert told.returncode == Exit.STATE_FOLDER
    assert "--state-dir" in told.stderr
    assert told.stderr.count("\n") == 1


def test_a_damaged_owner_key_is_never_replaced(home: Home) -> None:
    key = home.path / "config" / "murmuration" / "owner.key"
    key.parent.mkdir(parents=True)
    key.write_bytes(b"damaged")
    told = home.run("serve", "--demo", "--grpc-port", "0", "--p2p-port", "0", "--http-port", "0")
    assert told.returncode == Exit.BAD_CONFIG
    assert str(key) in told.stderr
    assert key.read_bytes() == b"damaged"


def test_a_host_name_is_a_usage_error(home: Home) -> None:
    told = home.run("serve", "--host", "localhost")
    assert told.returncode == 2
    assert "127.0.0.1" in told.stderr


# ---- the command itself ----------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [("serve",), ("run", "create"), ("run", "preset"), ("run", "list"), ("run", "show")]
)
def test_every_command_has_an_example(home: Home, command: tuple[str, ...]) -> None:
    assert f"Example: coordinator {' '.join(command)}" in home.run(*command, "--help").stdout


def test_asking_imports_nothing_heavy() -> None:
    script = (
        "import sys, coordinator.cli, coordinator.commands.client, coordinator.commands.display;"
        "print(sorted({'torch', 'hivemind', 'transformers', 'sqlalchemy'} & set(sys.modules)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout.strip() == "[]"
