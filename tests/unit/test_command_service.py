"""`peer service`: installed with a line, taken away without a trace, also where no systemd runs."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from peer import cli as cli_module
from peer.cli import cli
from peer.runtime import RuntimeFolder
from peer.service import installing
from peer.service.systemd import unit_name
from swarmpb.exits import Exit, UserError

SECRET = "5ecre7" * 6
LINK = "murmuration://there.example:7700/demo"
UNIT = unit_name("demo")


class Place:
    """The home of somebody who installs services."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.units = path / "config" / "systemd" / "user"
        self.secret = path / "state" / "runs" / "demo" / "link"

    def files(self) -> set[Path]:
        return {it for it in self.path.rglob("*") if not it.is_dir() or it.is_symlink()}

    def asked(self) -> list[str]:
        """What systemctl was told, where there is one."""
        return (self.path.parent / "asked").read_text().splitlines()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("PEER_STATE_DIR", str(home / "state"))
    monkeypatch.delenv("PEER_COORDINATOR", raising=False)
    monkeypatch.setattr(installing, "SYSTEMD_RUNS", tmp_path / "no systemd")
    monkeypatch.setattr(sys, "platform", "linux")
    return Place(home)


@pytest.fixture
def systemctl(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemd that takes note of what it is asked; what it answers is in a file."""
    folder = tmp_path / "bin"
    folder.mkdir()
    answer = tmp_path / "answer"
    answer.write_text("")
    script = folder / "systemctl"
    script.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\ncat {answer}\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(installing, "SYSTEMD_RUNS", folder)
    return answer


def service(*arguments: str) -> str:
    """What a command says; a refusal is raised as it is."""
    result = CliRunner().invoke(cli, ["service", *arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


def refused(*arguments: str) -> str:
    with pytest.raises(UserError) as caught:
        service(*arguments)
    assert caught.value.code is Exit.SERVICE
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_where_no_systemd_runs_the_unit_is_written_and_the_commands_are_told(place: Place) -> None:
    told = service("install", LINK)
    assert f"  systemctl --user enable --now {UNIT}" in told
    assert "loginctl enable-linger" in told
    assert place.files() == {place.units / UNIT}
    assert f" join {LINK} " in (place.units / UNIT).read_text()


def test_installed_and_uninstalled_leaves_nothing(place: Place) -> None:
    before = place.files()
    service("install", f"{LINK}/invite={SECRET}")
    assert stat.S_IMODE(place.secret.stat().st_mode) == 0o600
    assert place.secret.read_text() == f"{LINK}/invite={SECRET}"
    assert [it for it in place.files() if SECRET in it.read_text()] == [place.secret]
    wants = place.units / "default.target.wants"
    wants.mkdir()
    (wants / UNIT).symlink_to(place.units / UNIT)
    service("uninstall")
    assert place.files() == before
    assert not place.secret.parent.exists()
    assert not wants.exists()


@pytest.mark.usefixtures("systemctl")
def test_systemd_is_told_to_start_and_to_stop(place: Place) -> None:
    assert "runs as a service" in service("install", LINK)
    assert place.asked()[-2:] == ["--user daemon-reload", f"--user enable --now {UNIT}"]
    service("uninstall", "--run", "demo")
    assert place.asked()[-2:] == [f"--user disable --now {UNIT}", "--user daemon-reload"]


def test_what_is_printed_is_what_would_be_written_and_nothing_is(place: Place) -> None:
    shown = service("install", "--print", LINK)
    assert place.files() == set()
    service("install", LINK)
    assert (place.units / UNIT).read_text() == shown


def test_somebody_elses_unit_is_never_touched(place: Place) -> None:
    place.units.mkdir(parents=True)
    (place.units / UNIT).write_text("[Service]\nExecStart=/bin/mine\n")
    assert "is not of `peer service install`" in refused("install", LINK)
    assert "no service is installed" in refused("uninstall")
    assert (place.units / UNIT).read_text() == "[Service]\nExecStart=/bin/mine\n"


def test_status_tells_why_a_peer_is_not_started_again(place: Place, systemctl: Path) -> None:
    service("install", LINK)
    systemctl.write_text(
        "ActiveState=failed\nUnitFileState=enabled\nNRestarts=2\nExecMainStatus=20\n"
        "ActiveEnterTimestamp=Sun 2026-11-22 00:17:34 UTC\n"
    )
    told = service("status")
    assert "demo: failed since Sun" in told
    assert "started again 2 times; ended with code 20 (a setting is wrong): see `peer logs`" in told
    (facts,) = json.loads(service("status", "--json"))
    assert (facts["run"], facts["state"], facts["exit_code"]) == ("demo", "failed", 20)


def test_a_peer_that_runs_by_hand_is_pointed_out(place: Place) -> None:
    runtime = RuntimeFolder.claim(place.secret.parent, "a test")
    try:
        assert f"runs already (process {os.getpid()})" in service("install", LINK)
    finally:
        runtime.close()


def test_a_service_of_the_system_has_its_own_state_and_settings(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    for name, folder in (("SYSTEM_UNITS", "units"), ("SYSTEM_CONFIG", "etc")):
        monkeypatch.setattr(installing, name, root / folder)
    monkeypatch.setattr("peer.service.description.SYSTEM_CONFIG", root / "etc")
    monkeypatch.setattr(installing, "require_reach", lambda path: None)
    service("install", "--system", f"{LINK}/invite={SECRET}")
    unit = (root / "units" / UNIT).read_text()
    assert f"LoadCredential=link:{root}/etc/demo.link" in unit
    assert "--state-dir /var/lib/murmuration" in unit
    assert stat.S_IMODE((root / "etc" / "demo.link").stat().st_mode) == 0o600
    assert stat.S_IMODE((root / "etc" / "peer.toml").stat().st_mode) == 0o644
    service("uninstall", "--system")
    assert not [it for it in root.rglob("*") if it.is_file()]
    service("install", "--system", LINK)
    (root / "etc" / "peer.toml").write_text('name = "mine"\n')
    service("uninstall", "--system")
    assert (root / "etc" / "peer.toml").exists(), "settings that somebody wrote stay"


def test_a_program_in_somebodys_home_is_no_service_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    (closed / "bin").mkdir(parents=True)
    closed.chmod(0o700)
    with pytest.raises(UserError, match="closed to others"):
        installing.require_reach(closed / "bin")
    monkeypatch.setattr(installing, "HOMES", (closed,))
    with pytest.raises(UserError, match="install Murmuration under /opt"):
        installing.require_reach(closed / "bin" / "peer")
    installing.require_reach(Path("/usr/bin/env"))


def test_for_launchd_a_final_end_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli_module._as_told(Exit.BAD_CONFIG) == Exit.BAD_CONFIG
    monkeypatch.setenv("PEER_FINAL_IS_SUCCESS", "1")
    assert cli_module._as_told(Exit.BAD_CONFIG) == 0
    assert cli_module._as_told(Exit.CLOCK_OFF) == Exit.CLOCK_OFF
