"""What is looked at on a machine, when, and what that costs."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import psutil
import pynvml
import pytest

from peer.limits.settings import Limits
from peer.limits.usage import add_usage
from peer.resting import observing
from peer.resting.observing import Observing, SystemZone, on_battery, senses_here
from peer.resting.programs import WHOLE_SECONDS, RunningPrograms
from peer.resting.temperature import Temperatures
from tests.unit.seeing import Seen

WALL = 1_800_000_000.0
LOCAL = datetime.fromtimestamp(WALL, timezone.utc)


def demanding() -> Limits:
    return Limits.model_validate({
        "hours": "sat", "idle_after": "5 min", "not_while": ["steam"], "max_temperature": 80.0,
        "data_per_month": "20 GB",
    })  # fmt: skip


# ---- when ------------------------------------------------------------------------------


def test_only_what_a_limit_asks_for_is_looked_at() -> None:
    seen = Seen()
    observing = Observing(seen.senses())
    nothing = Limits(on_battery=True)
    observing.look(nothing, 0.0, WALL)
    assert seen.asked == []
    assert not observing.due(nothing, 1e6)
    observing.look(demanding(), 1.0, WALL)
    assert sorted(seen.asked) == ["battery", "data", "heat", "idle", "running"]


def test_each_is_looked_at_in_its_own_time() -> None:
    seen = Seen()
    observing, limits = Observing(seen.senses()), demanding()
    for second in range(60):
        if observing.due(limits, float(second)):
            observing.look(limits, float(second), WALL + second)
    counted = {it: seen.asked.count(it) for it in sorted(set(seen.asked))}
    assert counted == {"battery": 30, "data": 6, "heat": 12, "idle": 12, "running": 30}


def test_a_limit_that_is_set_is_looked_at_now() -> None:
    seen = Seen(running=("steam",))
    observing = Observing(seen.senses())
    observing.look(Limits(), 0.0, WALL)
    changed = Limits(not_while=("steam",))
    assert observing.due(changed, 0.1)
    observing.look(changed, 0.1, WALL)
    assert observing.sight(LOCAL, 0.1).programs == ("steam",)


def test_between_two_looks_nobody_is_thought_to_have_come() -> None:
    seen = Seen(idle=100.0)
    observing = Observing(seen.senses())
    observing.look(demanding(), 0.0, WALL)
    assert observing.sight(LOCAL, 3.0).idle_seconds == 103.0


def test_what_cannot_be_looked_at_for_once_holds_on(caplog: pytest.LogCaptureFixture) -> None:
    seen = Seen(battery=True)
    observing = Observing(seen.senses())
    observing.look(demanding(), 0.0, WALL)
    seen.battery = OSError("the embedded controller does not answer")
    for at in (10.0, 20.0):
        observing.look(demanding(), at, WALL)
        assert observing.sight(LOCAL, at).on_battery
    said = "limits.on_battery: cannot look: the embedded controller does not answer"
    assert [it.getMessage() for it in caplog.records] == [said], "once"


# ---- battery, data, temperature --------------------------------------------------------


@pytest.mark.parametrize(
    ("battery", "expected"),
    [
        (None, False),
        (SimpleNamespace(power_plugged=True), False),
        (SimpleNamespace(power_plugged=None), False),
        (SimpleNamespace(power_plugged=False), True),
    ],
)
def test_a_battery_counts_when_the_machine_runs_on_it(
    monkeypatch: pytest.MonkeyPatch, battery: object, expected: bool
) -> None:
    monkeypatch.setattr(psutil, "sensors_battery", lambda: battery)
    assert on_battery() is expected


def test_where_the_system_knows_no_batteries_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(psutil, "sensors_battery")
    assert not on_battery()


def test_the_data_of_the_month_is_that_of_all_runs(tmp_path: Path) -> None:
    senses = senses_here(tmp_path)
    today = date(2026, 11, 22)
    assert senses.month_bytes(today) == 0.0
    add_usage(tmp_path, "one", date(2026, 11, 1), 100, 20)
    add_usage(tmp_path, "two", today, 3, 4)
    add_usage(tmp_path, "two", date(2026, 10, 31), 1000, 1000)
    assert senses.month_bytes(today) == 127.0


def sensors(**by_driver: list[float]) -> Callable[[], dict[str, list[SimpleNamespace]]]:
    return lambda: {
        driver: [SimpleNamespace(current=it) for it in found] for driver, found in by_driver.items()
    }


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"coretemp": [61.0, 72.5, 60.0], "nvme": [84.0], "iwlwifi_1": [90.0]}, 72.5),
        ({"k10temp": [55.0], "amdgpu": [81.0]}, 81.0),
        ({"cpu_thermal": [48.3]}, 48.3),
        ({"acpitz": [27.8, 45.0], "nvme": [84.0]}, 45.0),
        ({"acpitz": [99.0], "coretemp": [60.0]}, 60.0),
        ({"coretemp": [0.0, -273.2, 500.0]}, None),
        ({"nvme": [84.0]}, None),
        ({}, None),
    ],
)
def test_the_hottest_processor_or_accelerator_counts(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, list[float]], expected: float | None
) -> None:
    monkeypatch.setattr(psutil, "sensors_temperatures", sensors(**found))
    assert Temperatures().hottest() == expected


def test_on_macos_no_temperature_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(psutil, "sensors_temperatures")
    assert Temperatures().hottest() is None


def test_nvidias_accelerators_are_asked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(device: object, _kind: int) -> int:
        if device == "gone":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return 77

    devices = ["gone", "there"]
    monkeypatch.setattr(psutil, "sensors_temperatures", sensors(coretemp=[50.0]))
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: len(devices))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", devices.__getitem__)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTemperature", told)
    assert Temperatures().hottest() == 77.0


# ---- programs --------------------------------------------------------------------------


@contextmanager
def started(*command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def game(tmp_path: Path) -> Path:
    """An executable of a name of its own, which waits for input."""
    found = shutil.which("cat")
    assert found is not None
    return Path(shutil.copy(found, tmp_path / "some-new-game-2"))


def as_a_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    """See what this test has started as started by somebody else."""
    monkeypatch.setattr(os, "getpid", lambda: 2**22 + 1)


def test_a_listed_program_is_seen_when_it_starts_and_when_it_ends(
    game: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_a_stranger(monkeypatch)
    programs = RunningPrograms()
    listed = ("steam-that-nobody-has", "Some-New-Game-2")
    assert programs.of(listed, 0.0) == ()
    with started(game):
        assert programs.of(listed, 2.0) == ("Some-New-Game-2",), "by case of the list"
        assert programs.of(listed, 4.0) == ("Some-New-Game-2",)
    assert programs.of(listed, 6.0) == ()


def test_a_shell_that_becomes_the_program_is_seen(
    game: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_a_stranger(monkeypatch)
    programs = RunningPrograms()
    with started("/bin/sh", "-c", f"read x; exec {game}") as process:
        assert programs.of((game.name,), 0.0) == ()
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
        while psutil.Process(process.pid).name() != game.name[:15]:
            time.sleep(0.01)
        assert programs.of((game.name,), 2.0) == (game.name,)


def test_a_process_that_changes_late_is_seen_at_the_next_whole_look(
    game: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_a_stranger(monkeypatch)
    programs = RunningPrograms()
    with started("/bin/sh", "-c", f"read x; exec {game}") as process:
        for at in (0.0, 2.0, 4.0):
            assert programs.of((game.name,), at) == ()
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
        while psutil.Process(process.pid).name() != game.name[:15]:
            time.sleep(0.01)
        assert programs.of((game.name,), WHOLE_SECONDS) == (game.name,)


def test_what_this_peer_runs_itself_does_not_count(game: Path) -> None:
    with started(game):
        assert RunningPrograms().of((game.name,), 0.0) == ()


# ---- the clock -------------------------------------------------------------------------


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Santiago", "Asia/Kathmandu"])
def test_the_machines_zone_is_the_systems(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for instant in (WALL, 1774746000.0, 1774749600.0, 1792890000.0, 1792893600.0, 1775357999.0):
            local = datetime.fromtimestamp(instant, SystemZone())
            expected = datetime.fromtimestamp(instant, ZoneInfo(zone))
            assert local.replace(tzinfo=None) == expected.replace(tzinfo=None)
            assert local.utcoffset() == expected.utcoffset()
            assert local.timestamp() == instant
    finally:
        monkeypatch.undo()
        time.tzset()


# ---- the cost --------------------------------------------------------------------------


def test_looking_takes_less_than_a_thousandth_of_a_processor(tmp_path: Path) -> None:
    """Every limit is set, for ten minutes; this machine's own processes, sensors and devices."""
    observing_here, limits = Observing(senses_here(tmp_path)), demanding()
    add_usage(tmp_path, "run", date.fromtimestamp(WALL), 1, 1)
    seconds = 600
    began = time.process_time()
    for second in range(seconds):
        if observing_here.due(limits, float(second)):
            observing_here.look(limits, float(second), WALL + second)
    assert (time.process_time() - began) / seconds < observing.MOST_PROCESSOR
