"""What training takes: measured where the machine tells it, else an estimate that says so."""

from __future__ import annotations

import os
import sqlite3
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from peer.energy.meter import EnergyMeter, default_watts
from peer.energy.nvml import Nvml
from peer.energy.rapl import Rapl
from peer.limits.disk import Disk
from peer.limits.in_force import LimitsInForce
from peer.limits.micro_batches import MicroBatches
from peer.limits.process_times import Used
from peer.limits.resources import Resources
from peer.limits.settings import Energy, Limits
from peer.limits.usage import NAME, add_energy, add_usage, energy_used, used_this_month
from peer.notices import Notices
from peer.status import Snapshot, progress_report
from swarmpb.v1 import control_pb2

PROCESSORS = os.cpu_count() or 1


# ---- the processors' own counters --------------------------------------------------------


def package(root: Path, name: str, microjoules: int, most: int = 10**9) -> None:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")


def test_packages_are_summed_and_their_parts_are_not_counted_twice(tmp_path: Path) -> None:
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        package(tmp_path, name, 5_000_000)
    rapl = Rapl(tmp_path)
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        package(tmp_path, name, 8_000_000)
    assert rapl.joules() == pytest.approx(6.0)
    assert rapl.joules() == 0


def test_a_counter_that_began_anew_is_understood(tmp_path: Path) -> None:
    package(tmp_path, "intel-rapl:0", 900_000_000)
    rapl = Rapl(tmp_path)
    package(tmp_path, "intel-rapl:0", 100_000_000)
    assert rapl.joules() == pytest.approx(200.0)


def test_without_counters_there_is_no_rapl(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no energy"):
        Rapl(tmp_path)
    package(tmp_path, "intel-rapl:0", 0)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("secret")
    with pytest.raises(OSError, match="no number"):
        Rapl(tmp_path)


# ---- an accelerator's, with a library that stands in for NVIDIA's ------------------------


class FakeNvml:
    """Two cards; the second one is ours."""

    class NVMLError(Exception):
        pass

    class NVMLError_NotFound(NVMLError):  # noqa: N801  as in NVIDIA's library
        pass

    def __init__(self, cards: int = 2, counts: bool = True) -> None:
        self.cards = cards
        self.counts = counts
        self.millijoules = {0: 0, 1: 1000}

    def nvmlInit(self) -> None:  # noqa: N802  as in NVIDIA's library
        """There is a driver."""

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self.cards

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetComputeRunningProcesses(self, device: int) -> list[Any]:  # noqa: N802
        return [SimpleNamespace(pid=42)] if device == 1 else []

    def nvmlDeviceGetTotalEnergyConsumption(self, device: int) -> int:  # noqa: N802
        if not self.counts:
            raise self.NVMLError
        return self.millijoules[device]

    def nvmlDeviceGetPowerUsage(self, device: int) -> int:  # noqa: N802
        return 100_000


def test_the_card_that_the_trainer_uses_is_counted() -> None:
    library = FakeNvml()
    meter = Nvml(library, pid=42)
    library.millijoules = {0: 999_000, 1: 4000}
    assert meter.joules() == pytest.approx(3.0)
    assert meter.joules() == 0


def test_a_card_that_counts_nothing_tells_its_power() -> None:
    meter = Nvml(FakeNvml(counts=False), pid=1)
    meter._at -= 2.0
    assert meter.joules() == pytest.approx(200.0, rel=0.1)


def test_a_driver_without_a_card_is_no_accelerator() -> None:
    with pytest.raises(FakeNvml.NVMLError):
        Nvml(FakeNvml(cards=0), pid=42)


# ---- the meter ---------------------------------------------------------------------------


class Counted:
    """Counters that have gone on by so much."""

    def __init__(self, joules: float) -> None:
        self._joules = joules

    def joules(self) -> float:
        if self._joules < 0:
            raise PermissionError("no more")
        return self._joules


def meter(folder: Path, settings: Energy, rapl: Counted | None = None) -> EnergyMeter:
    limits, notices = LimitsInForce(Limits()), Notices()
    sizes = MicroBatches(folder, b"", 8, notices)
    resources = Resources(limits, sizes, Disk(limits, folder))
    return EnergyMeter(settings, resources, (folder, "run"), notices, rapl)


def after(it: EnergyMeter, used: float, busy: float, seconds: float) -> EnergyMeter:
    """So many processor seconds later, of the machine's busy ones."""
    it._add(Used(trainer=used / 2, elsewhere=used / 2), 0.0)
    it.look(it._looked + seconds, it._busy + busy)
    return it


def test_a_stated_power_counts_by_the_share_of_the_processors(tmp_path: Path) -> None:
    it = after(meter(tmp_path, Energy(watts=60.0)), used=5 * PROCESSORS, busy=0, seconds=10)
    assert it.joules == pytest.approx(300)
    assert it.watts == pytest.approx(30)
    assert it.source == "estimated: 60 W at full load, as set"


def test_without_anything_a_guess_is_called_one(tmp_path: Path) -> None:
    it = after(meter(tmp_path, Energy()), used=PROCESSORS, busy=0, seconds=1)
    assert it.joules == pytest.approx(default_watts(PROCESSORS))
    assert f"a guess from {PROCESSORS} processors" in it.source


def test_of_what_is_measured_a_peer_took_its_share(tmp_path: Path) -> None:
    it = after(meter(tmp_path, Energy(watts=60.0), Counted(100)), used=1, busy=4, seconds=1)
    assert it.joules == pytest.approx(25)
    assert it.source.startswith("measured by RAPL")
    assert after(it, used=5, busy=4, seconds=1).joules == pytest.approx(125), "never more than all"


def test_counters_that_fall_silent_are_replaced_by_the_estimate(tmp_path: Path) -> None:
    it = after(meter(tmp_path, Energy(watts=60.0), Counted(-1)), PROCESSORS, busy=9, seconds=1)
    assert it.joules == pytest.approx(60)
    assert it.source.startswith("estimated")


def test_an_accelerators_energy_comes_on_top_and_an_error_of_its_driver_ends_that(
    tmp_path: Path,
) -> None:
    it = meter(tmp_path, Energy(watts=60.0))
    it._accelerator = (1, Counted(500))
    assert after(it, used=PROCESSORS, busy=0, seconds=1).joules == pytest.approx(560)
    assert it.source.endswith("measured by NVML")
    it._accelerator = (1, Counted(-1))
    assert after(it, used=PROCESSORS, busy=0, seconds=1).joules == pytest.approx(620)
    assert not it.source.endswith("measured by NVML")


def test_status_tells_energy_and_what_it_costs(tmp_path: Path) -> None:
    it = after(meter(tmp_path, Energy(watts=60.0, price=0.3, currency="€")), 1, 1, 1)
    reply = control_pb2.StatusReply()
    it.describe(reply)
    told = reply.energy
    assert (told.joules, told.watts, told.source) == (it.joules, it.watts, it.source)
    assert (told.price_per_kwh, told.currency) == (0.3, "€")


@pytest.mark.parametrize(("agrees", "told"), [(False, 0.0), (True, 60.0)])
def test_the_coordinator_is_told_only_if_the_user_agrees(
    tmp_path: Path, agrees: bool, told: float
) -> None:
    it = after(meter(tmp_path, Energy(watts=60.0, report=agrees)), PROCESSORS, 0, seconds=1)
    snapshot = Snapshot("run", "QmA", "anna", energy_joules=it.told_joules)
    assert progress_report(snapshot).energy_joules == pytest.approx(told)


def test_what_was_taken_is_kept_by_day_and_run_beside_the_data(tmp_path: Path) -> None:
    assert energy_used(tmp_path, "run") == 0
    for day, run, joules in ((1, "run", 10.0), (1, "run", 5.0), (2, "run", 1.0), (2, "other", 7.0)):
        add_energy(tmp_path, run, date(2026, 11, day), joules)
    assert energy_used(tmp_path, "run") == 16
    assert used_this_month(tmp_path, date(2026, 11, 2)) == 0
    add_usage(tmp_path, "run", date(2026, 11, 2), 3, 4)
    assert (energy_used(tmp_path, "run"), used_this_month(tmp_path, date(2026, 11, 2))) == (16, 7)


def test_days_of_long_ago_are_forgotten(tmp_path: Path) -> None:
    add_energy(tmp_path, "run", date(2024, 1, 1), 10.0)
    add_energy(tmp_path, "run", date(2026, 11, 1), 1.0)
    assert energy_used(tmp_path, "run") == 1


def test_a_daemon_goes_on_from_what_was_used_before(tmp_path: Path) -> None:
    add_energy(tmp_path, "run", date(2026, 11, 1), 1000.0)
    it = meter(tmp_path, Energy(watts=60.0))
    it.joules += it._so_far()
    it._note()
    after(it, used=PROCESSORS, busy=0, seconds=1)
    it._note()
    it._note()
    assert energy_used(tmp_path, "run") == pytest.approx(1060)
    assert it.joules == pytest.approx(1060)
    with sqlite3.connect(tmp_path / NAME) as database:
        assert len(database.execute("select * from energy").fetchall()) == 2
    database.close()
