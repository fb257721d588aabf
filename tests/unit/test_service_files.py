"""What `peer service` writes: units that systemd takes, a property list, no secret in either."""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from peer.departure import FAREWELL_SECONDS, LEAVE_SECONDS
from peer.service import launchd, systemd
from peer.service.description import STOP_SECONDS, Service
from peer.service.examples import examples
from peer.service.outcomes import LEFT_ALONE, STARTED_AGAIN, USAGE, left_alone, successes
from swarmpb.endpoints import parse_link
from swarmpb.exits import Exit

ROOT = Path(__file__).resolve().parents[2]
SECRET = "5ecre7" * 6
ANALYZE = shutil.which("systemd-analyze")

SERVICE = Service(
    link=parse_link("murmuration://there.example:7700/demo"),
    program=("/bin/true",),
    state_dir=Path("/home/anna/state"),
    config=Path("/home/anna/peer.toml"),
)
INVITED = replace(SERVICE, link=replace(SERVICE.link, invite=SECRET), secret=Path("/home/anna/l"))


def settings(text: str) -> dict[str, list[str]]:
    """A unit's settings by name."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_the_files_in_deploy_are_what_is_written() -> None:
    for name, content in examples().items():
        stale = f"run `python -m peer.service.examples deploy`: {name} is stale"
        assert (ROOT / "deploy" / name).read_bytes() == content, stale


@pytest.mark.skipif(
    ANALYZE is None and "MURMURATION_REQUIRE_ALL" not in os.environ, reason="needs systemd"
)
@pytest.mark.parametrize("system", [False, True])
@pytest.mark.parametrize(
    "state_dir", ["/home/anna/state", '/home/anna/50% "mine" \\ $HOME it\'s', "/home/ü"]
)
def test_systemd_finds_nothing_wrong_with_a_unit(
    tmp_path: Path, system: bool, state_dir: str
) -> None:
    path = tmp_path / systemd.unit_name("demo")
    path.write_text(systemd.unit(replace(INVITED, system=system, state_dir=Path(state_dir))))
    command = ["systemd-analyze", "verify", "--man=no", *([] if system else ["--user"]), str(path)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    complaints = [it for it in done.stderr.splitlines() if path.name in it]
    assert (done.returncode, complaints) == (0, []), done.stderr


def test_a_strange_folder_is_one_word_to_systemd() -> None:
    strange = replace(SERVICE, state_dir=Path('/a b/50%/"q"/$HOME/back\\slash'))
    (command,) = settings(systemd.unit(strange))["ExecStart"]
    assert command.endswith(r'--state-dir "/a b/50%%/\"q\"/$$HOME/back\\slash"')
    with pytest.raises(ValueError, match="cannot stand in a unit"):
        systemd.unit(replace(SERVICE, state_dir=Path("/a\n[Service]\nExecStart=/bin/sh")))


@pytest.mark.parametrize("system", [False, True])
def test_an_invitations_secret_is_in_no_file_that_others_read(system: bool) -> None:
    service = replace(INVITED, system=system)
    unit = systemd.unit(service)
    assert SECRET not in unit
    assert SECRET.encode() not in launchd.agent(service)
    found = settings(unit)
    assert found["LoadCredential"] == ["link:/home/anna/l"]
    assert found["ExecStart"][0].startswith("/bin/true join @%d/link ")
    assert "LoadCredential" not in settings(systemd.unit(SERVICE))


def test_a_peer_has_the_time_it_needs_to_leave() -> None:
    assert 2 * (LEAVE_SECONDS + FAREWELL_SECONDS) < STOP_SECONDS
    found = settings(systemd.unit(SERVICE))
    assert found["TimeoutStopSec"] == [f"{STOP_SECONDS}s"]
    assert found["KillMode"] == ["mixed"], "trainer and p2pd are the peer's to end"
    assert plistlib.loads(launchd.agent(SERVICE))["ExitTimeOut"] == STOP_SECONDS


def test_every_end_of_a_peer_is_thought_through_once() -> None:
    assert not STARTED_AGAIN.keys() & LEFT_ALONE.keys()
    assert STARTED_AGAIN.keys() | LEFT_ALONE.keys() == set(Exit)
    found = settings(systemd.unit(SERVICE))
    assert found["Restart"] == ["on-failure"]
    assert found["RestartPreventExitStatus"] == [" ".join(map(str, left_alone()))]
    assert found["SuccessExitStatus"] == [" ".join(map(str, successes()))]
    assert {USAGE, Exit.BAD_CONFIG, Exit.RUN_FINISHED, Exit.BANNED} <= set(left_alone())
    assert {0, 1, Exit.COORDINATOR_UNREACHABLE, Exit.CLOCK_OFF}.isdisjoint(left_alone())


def test_the_control_socket_lies_where_peer_status_sees_it() -> None:
    """Not in the temporary folder that `PrivateTmp` hides, and where its path is short."""
    found = settings(systemd.unit(replace(SERVICE, system=True)))
    (folder,) = found["RuntimeDirectory"]
    assert f"TMPDIR=%t/{folder}" in found["Environment"]
    assert found["RuntimeDirectoryMode"] == ["0700"]
    assert found["PrivateTmp"] == ["yes"]
    # that of p2pd's longest socket
    assert (
        len(f"/run/user/4294967295/{folder}/murmuration-01234567/p2pclient-0123456789a.sock") < 107
    )


@pytest.mark.skipif(
    ANALYZE is None and "MURMURATION_REQUIRE_ALL" not in os.environ, reason="needs systemd"
)
def test_systemd_thinks_that_little_can_go_wrong(tmp_path: Path) -> None:
    """Its measure of exposure, from 0 (none) to 100: a service without any protection has 96."""
    path = tmp_path / systemd.unit_name("demo")
    path.write_text(systemd.unit(replace(SERVICE, system=True)))
    command = [
        "systemd-analyze",
        "security",
        "--offline=yes",
        "--threshold=25",
        "--no-pager",
        str(path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_launchd_is_told_the_same() -> None:
    found = plistlib.loads(launchd.agent(INVITED))
    assert found["Label"] == launchd.label("demo") == "org.murmuration.peer.demo"
    assert found["ProgramArguments"][:3] == ["/bin/true", "join", "@/home/anna/l"]
    assert found["KeepAlive"] == {"SuccessfulExit": False}
    assert found["EnvironmentVariables"]["PEER_FINAL_IS_SUCCESS"] == "1"
