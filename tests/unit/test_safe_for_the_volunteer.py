"""Nothing from the network names a path outside the state folder; nobody else steers a peer."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.control import serve_control
from peer.joining import _identity
from peer.local_runs import run_folder, run_folders
from peer.runtime import RuntimeFolder
from swarmpb.endpoints import SCHEME, LinkError, parse_link
from swarmpb.spec import SpecError, parse_canonical
from swarmpb.v1 import control_pb2
from tests.tiny import tiny_spec

STATE = Path("/home/anna/state")
NOBODY = 65534
BREAKING = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from(["..", ".", "", "a", "/", "\\", "%2e%2e", "\n", "\0"])).map("/".join),
    st.sampled_from(
        ["../../etc", "/etc/passwd", "a/../../b", "..", "demo\n", "démo", "a" * 64, "0" * 64]
    ),
)


@given(BREAKING)
def test_a_link_names_a_folder_below_the_state_folder_or_is_none(text: str) -> None:
    try:
        link = parse_link(f"{SCHEME}there.example:7700/{text}")
    except LinkError:
        return
    inside(run_folder(STATE, link.run_id or "x"), STATE / "runs")


@given(BREAKING)
def test_a_spec_names_a_folder_below_the_state_folder_or_is_none(text: str) -> None:
    content = json.loads(tiny_spec().canonical())
    content["run_id"] = text
    try:
        spec = parse_canonical(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())
    except SpecError:
        return
    inside(run_folder(STATE, spec.run_id), STATE / "runs")


@given(BREAKING, BREAKING)
def test_a_download_is_named_by_its_hash_whatever_its_address_says(text: str, path: str) -> None:
    content = json.loads(tiny_spec().canonical())
    one = {"url": f"https://there.example/{path}", "sha256": text, "bytes": 5}
    content["data"] |= {"source": "downloads", "downloads": [one]}
    data = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    try:
        spec = parse_canonical(data)
    except SpecError:
        return
    (download,) = spec.data.downloads
    inside(STATE / "data" / download.sha256, STATE / "data")
    assert len(download.sha256) == 64


def inside(path: Path, folder: Path) -> None:
    """That a path is directly in a folder, however it is written."""
    assert os.path.normpath(path) == str(path)
    assert path.parent == folder
    assert path.name.isprintable()


def test_a_run_whose_folder_is_a_link_elsewhere_is_none_of_ours(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "lock").touch()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(outside)
    assert run_folders(tmp_path) == []


def test_a_key_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        _identity(tmp_path / "identity.key")
    finally:
        os.umask(before)
    assert mode(tmp_path / "identity.key") == 0o600


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class Peer:
    """A peer that nobody should reach."""

    def status(self) -> control_pb2.StatusReply:
        return control_pb2.StatusReply()

    def pause(self, seconds: float) -> str:
        return "paused"

    def resume(self) -> str:
        return "resumed"

    def finish(self, within_seconds: float) -> str:
        return "finishing"

    def leave(self) -> str:
        return "leaving"

    def reload(self) -> control_pb2.ReloadReply:
        return control_pb2.ReloadReply()


@pytest.fixture
def claimed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The private folder of a process, in a temporary folder that all may enter."""
    temporary = Path(tempfile.mkdtemp(dir="/tmp"))
    temporary.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    runtime = RuntimeFolder.claim(temporary / "state", "a test")
    yield runtime.path
    runtime.close()
    shutil.rmtree(temporary)


@contextmanager
def somebody_else() -> Iterator[None]:
    """Be another user for a moment; only root can."""
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.mark.anyio
async def test_the_control_socket_is_its_owners_alone(claimed: Path) -> None:
    async with serve_control(claimed, Peer()):
        assert mode(claimed / "control.sock") == 0o600
        assert mode(claimed) == 0o700


@pytest.mark.anyio
@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("folder_mode", [0o700, 0o755])
async def test_another_user_cannot_steer_a_peer(claimed: Path, folder_mode: int) -> None:
    """The folder keeps them out, and were it open, the socket's own mode."""
    async with serve_control(claimed, Peer()):
        os.chmod(claimed, folder_mode)  # noqa: PTH101  one call
        with socket.socket(socket.AF_UNIX) as probe, somebody_else():  # noqa: SIM117
            with pytest.raises(PermissionError):
                probe.connect(str(claimed / "control.sock"))
        with socket.socket(socket.AF_UNIX) as own:
            own.connect(str(claimed / "control.sock"))
