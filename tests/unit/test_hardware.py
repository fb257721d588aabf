"""What a peer says of its machine and its connections: as much as is known, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from peer.hardware import MAX_NAME, processor_name, this_machine
from peer.swarm.reach import reach_of

OWN = ("/ip4/192.0.2.1/tcp/7/p2p/QmA",)
RELAY = "/ip4/192.0.2.9/tcp/7/p2p/QmR/p2p-circuit"
OTHER = "/ip4/192.0.2.2/tcp/7"


@pytest.mark.parametrize(
    ("addresses", "connections", "reach"),
    [
        (OWN, [OTHER, OTHER], "direct"),
        (OWN, [OTHER, OTHER, RELAY], "direct"),
        (OWN, [RELAY, RELAY, OTHER], "relayed"),
        (OWN, [], ""),
        ((*OWN, f"{RELAY}/p2p/QmA"), [OTHER], "relayed"),
        ((), [OTHER], "outgoing only"),
    ],
)
def test_how_others_get_through_is_what_its_connections_show(
    addresses: tuple[str, ...], connections: list[str], reach: str
) -> None:
    assert reach_of(addresses, connections) == reach


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
