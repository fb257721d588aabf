"""What a peer says of its machine and its connections: as much as is known, and no more."""

from __future__ import annotations

from pathlib import Path

from peer.hardware import MAX_NAME, processor_name, this_machine


def test_a_processor_goes_by_its_makers_name(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Some  Chip @ 3 GHz\nflags\t: a b\n")
    assert processor_name(cpuinfo) == "Some Chip @ 3 GHz"


def test_a_processor_without_a_name_goes_by_its_architecture(tmp_path: Path) -> None:
    assert processor_name(tmp_path / "no such file")


def test_a_machine_is_described_roughly(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"model name: {'x' * 500}\n")
    told = this_machine(cpuinfo)
    assert told.processor == "x" * MAX_NAME
    assert told.cores >= 1
    assert told.memory_bytes % (1 << 28) == 0
    assert told.memory_bytes > 0
    assert told.system
    assert told.accelerator == ""
