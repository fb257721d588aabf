"""TLS between real sockets: the pinned certificate, another one in its place, and bad files."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from coordinator.config import ServeSettings, TlsFiles
from coordinator.rpc.transport import OWN_DAYS, Transport, ensure_own, read, transport
from swarmpb.channels import Unreachable, channel, trust
from swarmpb.endpoints import Endpoint
from swarmpb.exits import Exit, UserError
from swarmpb.v1 import coordinator_pb2, coordinator_pb2_grpc

NOW = 1_800_000_000.0
"""Own certificates begin a day before they are made; this lies ahead of the machine's clock."""
HOST = "127.0.0.1"


def own(folder: Path, now: float | None = None) -> Transport:
    folder.mkdir(exist_ok=True)
    files, moment = TlsFiles(folder / "tls.crt", folder / "tls.key"), now or time.time()
    ensure_own(files, moment)
    return read(files, moment)


class Runs(coordinator_pb2_grpc.CoordinatorServicer):
    def ListRuns(self, request: object, context: object) -> coordinator_pb2.ListRunsReply:  # noqa: N802
        return coordinator_pb2.ListRunsReply(runs=[coordinator_pb2.RunSummary(run_id="demo")])

    GetRun = Report = Admit = RestoreRun = GetProgress = GetReceipts = None  # type: ignore[assignment]  # not asked


@contextmanager
def serving(secured: Transport, port: int = 0) -> Iterator[int]:
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool, options=(("grpc.so_reuseport", 0),))
        coordinator_pb2_grpc.add_CoordinatorServicer_to_server(Runs(), server)
        bound = server.add_secure_port(f"{HOST}:{port}", secured.credentials())
        server.start()
        try:
            yield bound
        finally:
            server.stop(0).wait()


def ask(link: grpc.Channel) -> str:
    stub = coordinator_pb2_grpc.CoordinatorStub(link)
    request = coordinator_pb2.ListRunsRequest()
    return stub.ListRuns(request, timeout=10, wait_for_ready=True).runs[0].run_id


def test_a_pinned_certificate_is_trusted_again_after_a_restart(tmp_path: Path) -> None:
    secured = own(tmp_path)
    with serving(secured) as port:
        endpoint = Endpoint(HOST, port, secured.pin)
        link = channel(endpoint, trust(endpoint), (("grpc.max_reconnect_backoff_ms", 200),))
        assert ask(link) == "demo"
    with serving(read(secured.files, NOW), port), link:
        assert ask(link) == "demo"


def test_another_certificate_at_the_address_is_told_in_one_line(tmp_path: Path) -> None:
    meant, found = own(tmp_path / "meant"), own(tmp_path / "found")
    with (
        serving(found) as port,
        pytest.raises(UserError, match="is not the coordinator of this") as it,
    ):
        trust(Endpoint(HOST, port, meant.pin))
    assert it.value.code == Exit.WRONG_COORDINATOR


def test_a_certificate_that_changes_under_a_channel_is_not_trusted(tmp_path: Path) -> None:
    meant, other = own(tmp_path / "meant"), own(tmp_path / "other")
    with serving(meant) as port:
        endpoint = Endpoint(HOST, port, meant.pin)
        link = channel(endpoint, trust(endpoint), (("grpc.max_reconnect_backoff_ms", 200),))
        assert ask(link) == "demo"
    with serving(other, port), link:
        stub = coordinator_pb2_grpc.CoordinatorStub(link)
        with pytest.raises(grpc.RpcError) as refused:
            stub.ListRuns(coordinator_pb2.ListRunsRequest(), timeout=10)
    assert isinstance(refused.value, grpc.Call)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


def test_nobody_and_somebody_who_speaks_no_tls_are_told_apart() -> None:
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]

        def hang_up() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        answering = threading.Thread(target=hang_up)
        answering.start()
        with pytest.raises(UserError) as it:
            trust(Endpoint(HOST, port, bytes(32)))
        answering.join()
        assert it.value.code == Exit.WRONG_COORDINATOR
    with pytest.raises(Unreachable, match=f"{HOST}:{port}"):
        trust(Endpoint(HOST, port, bytes(32)))


# ---- files -----------------------------------------------------------------------------


def test_the_own_certificate_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    settings = ServeSettings(tmp_path, tmp_path / "owner.key", host="0.0.0.0")  # noqa: S104
    first, again = transport(settings, NOW), transport(settings, NOW + 86_400)
    assert first is not None
    assert again is not None
    assert first.pin == again.pin
    for path in (first.files.certificate, first.files.key):
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_this_machine_alone_is_spoken_to_in_plain_text(tmp_path: Path, host: str) -> None:
    assert transport(ServeSettings(tmp_path, tmp_path / "owner.key", host=host), NOW) is None
    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be_used_are_told_at_the_start(tmp_path: Path) -> None:
    one, other = own(tmp_path / "one", NOW).files, own(tmp_path / "other", NOW).files
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("no certificate")
    for files, moment, words in (
        (TlsFiles(one.certificate, other.key), NOW, "do not belong together"),
        (TlsFiles(nonsense, one.key), NOW, "cannot be read"),
        (TlsFiles(one.certificate, nonsense), NOW, "cannot be read"),
        (TlsFiles(tmp_path / "none", one.key), NOW, "cannot read"),
        (one, NOW + (OWN_DAYS + 1) * 86_400, "expired on"),
        (one, NOW - 2 * 86_400, "not valid before"),
    ):
        with pytest.raises(UserError, match=words) as it:
            read(files, moment)
        assert it.value.code == Exit.BAD_CONFIG
